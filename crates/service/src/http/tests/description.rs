use super::*;
use crate::http::openapi::Shape;

fn document(running: &Running) -> Value {
    let (head, body) = get(running, "/openapi.json", "");
    assert!(
        head.starts_with("http/1.1 200") && head.contains("content-type: application/json"),
        "{head}"
    );
    json_of(&body)
}

#[test]
fn every_declared_route_is_described() {
    let running = started(1000);
    let document = document(&running);
    assert!(document["openapi"].as_str().unwrap().starts_with("3."), "{document}");
    assert_eq!(document["info"]["title"], "tested");
    let info = json_of(&get(&running, "/info", "").1);
    let routes = info["routes"].as_array().unwrap();
    assert_eq!(routes.len(), 19);
    for route in routes {
        let method = route["method"].as_str().unwrap().to_lowercase();
        let operation = &document["paths"][route["path"].as_str().unwrap()][&method];
        assert_eq!(operation["summary"], route["summary"], "{route}");
        let parameters: Vec<(&str, &str)> = operation["parameters"]
            .as_array()
            .into_iter()
            .flatten()
            .map(|parameter| (parameter["in"].as_str().unwrap(), parameter["name"].as_str().unwrap()))
            .collect();
        for name in route["parameters"].as_array().unwrap() {
            assert!(
                parameters.contains(&("query", name.as_str().unwrap())),
                "{name}: {operation}"
            );
        }
        let is_of_tenant = route["scope"] == "tenant";
        assert_eq!(
            parameters.contains(&("header", "X-Tenant-Id")),
            is_of_tenant,
            "{operation}"
        );
        let refused = &operation["responses"]["400"]["content"]["application/problem+json"]["schema"];
        assert_eq!(refused["$ref"], "#/components/schemas/Problem", "{operation}");
    }
    let of = &document["paths"]["/of/{id}"]["get"]["parameters"][0];
    assert_eq!(
        (&of["in"], &of["name"], &of["required"]),
        (&"path".into(), &"id".into(), &true.into())
    );
}

/// Why a value does not have the shape.
pub(super) fn misfit(shape: &Shape, value: &Value, name: &str) -> Option<String> {
    let fits = match shape {
        Shape::Text | Shape::Plain => value.is_string(),
        Shape::Time => value
            .as_str()
            .is_some_and(|text| text.parse::<jiff::Timestamp>().is_ok()),
        Shape::Integer => value.is_i64() || value.is_u64(),
        Shape::Number => value.is_number(),
        Shape::Flag => value.is_boolean(),
        Shape::Any => true,
        Shape::Nullable(_) if value.is_null() => true,
        Shape::Nullable(inner) | Shape::Optional(inner) => return misfit(inner, value, name),
        Shape::List(item) => {
            return match value.as_array() {
                Some(items) => items.iter().find_map(|value| misfit(item, value, name)),
                None => Some(format!("{name} is no list: {value}")),
            };
        }
        Shape::Map(inner) => {
            return match value.as_object() {
                Some(fields) => fields.iter().find_map(|(name, value)| misfit(inner, value, name)),
                None => Some(format!("{name} is no object: {value}")),
            };
        }
        Shape::Object(fields) => {
            return fields.iter().find_map(|(name, shape)| match (value.get(name), shape) {
                (None, Shape::Optional(_)) => None,
                (None, _) => Some(format!("{name} is missing: {value}")),
                (Some(value), shape) => misfit(shape, value, name),
            });
        }
    };
    (!fits).then(|| format!("{name} is {value}, not {shape:?}"))
}

#[test]
fn the_shared_routes_answer_what_is_described() {
    let running = started(1000);
    running.health.add_worker(WorkerStatus::new("stage-0"), true);
    for (path, shape) in [
        ("/health", &openapi::HEALTH),
        ("/health/live", &openapi::PROBE),
        ("/health/ready", &openapi::PROBE),
        ("/health/cluster", &openapi::CLUSTER),
        ("/stats", &openapi::STATS),
        ("/log-level", &openapi::LOG_LEVEL),
    ] {
        let value = json_of(&get(&running, path, "").1);
        assert_eq!(misfit(shape, &value, path), None);
    }
    // The rest of `/info` is made where a service starts.
    let info = json_of(&get(&running, "/info", "").1);
    let Shape::Object(fields) = openapi::INFO else {
        panic!("an object")
    };
    let (_, routes) = fields.iter().find(|(name, _)| *name == "routes").unwrap();
    assert_eq!(misfit(routes, &info["routes"], "routes"), None);
}
