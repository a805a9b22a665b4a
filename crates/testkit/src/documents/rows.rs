//! The rows of a report, and how its market writes them. Pure.

use std::sync::LazyLock;

use fastrand::Rng;
use jiff::Timestamp;
use jiff::tz::TimeZone;

pub(super) const MINUTE: i64 = 60_000;
pub(super) const HOUR: i64 = 60 * MINUTE;
pub(super) const DAY: i64 = 24 * HOUR;
/// Nodes of each report.
const NODES: u64 = 30;
/// A price of one dollar, as this module counts.
const DOLLAR: i64 = 1_000_000;

/// `None` only if jiff has no time zones. PJM's local stamps are then empty, which the format allows.
static EASTERN: LazyLock<Option<TimeZone>> = LazyLock::new(|| TimeZone::get("America/New_York").ok());

const PJM_HEADER: &str = "datetime_beginning_utc,datetime_beginning_ept,pnode_id,pnode_name,voltage,equipment,type,zone,\
     system_energy_price_RUN,total_lmp_RUN,congestion_price_RUN,marginal_loss_price_RUN,row_is_current,version_nbr";
/// Trading hubs of PJM, which are a closed list. All other nodes are made up.
const PJM_HUBS: [&str; 8] = [
    "WESTERN HUB",
    "EASTERN HUB",
    "N ILLINOIS HUB",
    "AEP-DAYTON HUB",
    "CHICAGO HUB",
    "DOMINION HUB",
    "NEW JERSEY HUB",
    "OHIO HUB",
];
const MISO_HEADERS: &str = r#"["INTERVAL","CPNODE","LMP","MLC","MCC"]"#;

/// How it is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Form {
    /// As the market's report.
    Report,
    /// As a page of PJM's API.
    Page {
        /// Rows of the other pages. If there are any, the page may say so by a link to the next one, too.
        others: usize,
        has_next: bool,
    },
}

/// What is published.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Report {
    MisoRealTime,
    PjmHourly,
    PjmDayAhead,
}

/// The price of one node in one interval.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Row {
    pub node: u64,
    /// Start of the interval.
    pub start: i64,
    /// In millionths, like the other parts of the price.
    pub congestion: i64,
    pub loss: i64,
    pub version: u32,
    pub is_current: bool,
}

/// The rows of a document.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Prices {
    pub report: Report,
    pub rows: Vec<Row>,
}

impl Prices {
    /// As the market publishes them at this time: prices of real time after their intervals, day-ahead prices of tomorrow.
    pub(super) fn published(report: Report, random: &mut Rng, now: i64) -> Prices {
        let step = report.step();
        let newest = now - now.rem_euclid(step);
        let (end, intervals, nodes) = match report {
            // One interval, or the last twenty minutes.
            Report::MisoRealTime => {
                let end = newest - random.u64(..3) as i64 * step;
                match random.u64(..5) {
                    0 => (end, 4, 12),
                    _ => (end, 1, 6 + random.u64(..8)),
                }
            }
            Report::PjmHourly => {
                let end = newest - random.u64(..4) as i64 * step;
                (end, 1 + random.u64(..3) as i64, 6 + random.u64(..5))
            }
            // Tomorrow begins and ends at five o'clock UTC.
            Report::PjmDayAhead => (now - now.rem_euclid(DAY) + 2 * DAY + 5 * HOUR, 24, 1 + random.u64(..2)),
        };
        let first = random.u64(..NODES);
        let mut rows = Vec::new();
        for back in 1..=intervals {
            for node in first..first + nodes {
                rows.push(Row {
                    node: node % NODES,
                    start: end - back * step,
                    congestion: report.congestion(random),
                    loss: report.amount(random, 2),
                    version: 1,
                    is_current: true,
                });
            }
        }
        Prices { report, rows }
    }

    /// The same rows, at least one of them with another price.
    pub(super) fn corrected(mut self, random: &mut Rng) -> Prices {
        let certainly = random.usize(..self.rows.len().max(1));
        let lists_old_ones = self.report != Report::MisoRealTime && random.bool();
        let mut old = Vec::new();
        for (at, row) in self.rows.iter_mut().enumerate() {
            if at != certainly && random.bool() {
                continue;
            }
            old.push(Row {
                is_current: false,
                ..*row
            });
            row.version += 1;
            row.congestion = self.report.congestion(random);
        }
        if lists_old_ones {
            self.rows.extend(old);
        }
        self
    }

    /// The cells of each row, in the order of the report's columns.
    pub(super) fn cells(&self, form: Form) -> Vec<Vec<String>> {
        self.rows.iter().map(|row| self.report.cells(row, form)).collect()
    }
}

impl Report {
    pub(super) fn format(self) -> &'static str {
        match self {
            Report::MisoRealTime => "miso.rt5.expost.json",
            Report::PjmHourly => "pjm.rt_hrl_lmps.csv",
            Report::PjmDayAhead => "pjm.da_hrl_lmps.csv",
        }
    }

    fn step(self) -> i64 {
        match self {
            Report::MisoRealTime => 5 * MINUTE,
            Report::PjmHourly | Report::PjmDayAhead => HOUR,
        }
    }

    fn decimals(self) -> u32 {
        match self {
            Report::MisoRealTime => 2,
            Report::PjmHourly | Report::PjmDayAhead => 6,
        }
    }

    /// Between minus and plus this many dollars, with the report's decimals.
    fn amount(self, random: &mut Rng, dollars: i64) -> i64 {
        let unit = 10_i64.pow(6 - self.decimals());
        random.i64(-dollars * DOLLAR / unit..=dollars * DOLLAR / unit) * unit
    }

    fn congestion(self, random: &mut Rng) -> i64 {
        self.amount(random, 45)
    }

    /// The energy price of an interval is the same at every node.
    fn energy(self, start: i64) -> i64 {
        20 * DOLLAR + (start / self.step()).rem_euclid(97) * 310_000
    }

    fn number(self, value: i64) -> String {
        let sign = if value < 0 { "-" } else { "" };
        let unit = 10_i64.pow(6 - self.decimals());
        let (whole, rest) = (value.abs() / DOLLAR, value.abs() % DOLLAR / unit);
        format!("{sign}{whole}.{rest:0width$}", width = self.decimals() as usize)
    }

    fn cells(self, row: &Row, form: Form) -> Vec<String> {
        let energy = self.energy(row.start);
        let [energy, price, congestion, loss] =
            [energy, energy + row.congestion + row.loss, row.congestion, row.loss].map(|value| self.number(value));
        if self == Report::MisoRealTime {
            // The stamp is the end of the interval in EST, which is five hours behind UTC all year.
            let end = Timestamp::from_millisecond(row.start + self.step() - 5 * HOUR).unwrap_or_default();
            let stamp = end.strftime("%Y-%m-%dT%H:%M:%S").to_string();
            return vec![stamp, miso_node(row.node), price, loss, congestion];
        }
        let [id, name, voltage, equipment, kind, zone] = pjm_node(row.node);
        let is_current = if row.is_current { "True" } else { "False" }.to_owned();
        let stamp = |zone| match form {
            Form::Report => shown(row.start, zone, "%-m/%-d/%Y %-I:%M:%S %p"),
            Form::Page { .. } => shown(row.start, zone, "%Y-%m-%dT%H:%M:%S"),
        };
        let (utc, local) = (stamp(Some(&TimeZone::UTC)), stamp((*EASTERN).as_ref()));
        let version = row.version.to_string();
        vec![
            utc, local, id, name, voltage, equipment, kind, zone, energy, price, congestion, loss, is_current, version,
        ]
    }

    /// The document with these rows.
    pub(super) fn document(self, rows: &[Vec<String>], form: Form) -> Vec<u8> {
        let text = match (self, form) {
            (Report::MisoRealTime, _) => {
                let row = |cells: &Vec<String>| format!("[\"{}\"]", cells.join("\",\""));
                let rows: Vec<String> = rows.iter().map(row).collect();
                format!("{{\"headers\":{MISO_HEADERS},\"data\":[{}]}}", rows.join(","))
            }
            (_, Form::Page { others, has_next }) => page(&self.header(), rows, rows.len() + others, has_next),
            (_, Form::Report) => {
                let lines = std::iter::once(self.header()).chain(rows.iter().map(|cells| cells.join(",")));
                lines.map(|line| line + "\r\n").collect()
            }
        };
        text.into_bytes()
    }

    /// The names of PJM's columns.
    fn header(self) -> String {
        let run = if self == Report::PjmHourly { "rt" } else { "da" };
        PJM_HEADER.replace("RUN", run)
    }

    /// A document whose column of nodes has a name that the format does not know.
    pub(super) fn with_another_header(self, document: &[u8]) -> Vec<u8> {
        let text = String::from_utf8_lossy(document);
        text.replacen("CPNODE", "NODE", 1)
            .replacen("pnode_name", "node", 1)
            .into_bytes()
    }

    /// The beginning of a document: of PJM's reports less than the header, since whole lines would be rows.
    pub(super) fn begun(self, document: &[u8]) -> Vec<u8> {
        let length = match document {
            [b'{', ..] => document.len() / 2,
            _ => PJM_HEADER.len() / 2,
        };
        document.get(..length).unwrap_or(document).to_vec()
    }
}

fn miso_node(node: u64) -> String {
    match node % 5 {
        // A name with a character that ids encode.
        0 => format!("FAULT LOAD {node}.AZ"),
        _ => format!("FAULT.NODE{node:02}"),
    }
}

/// Id, name, voltage, equipment, type and zone.
fn pjm_node(node: u64) -> [String; 6] {
    let hub = PJM_HUBS.get(node as usize / 4).filter(|_| node.is_multiple_of(4));
    let (name, rest) = match (hub, node % 4) {
        (Some(hub), _) => ((*hub).to_owned(), ["", "", "HUB", ""]),
        (None, 1) => (format!("FAULT{node}"), ["", "", "ZONE", ""]),
        // Names that are cut short are shared.
        _ => ("FAULT UNIT".to_owned(), ["230 KV", "T-1", "GEN", "PSEG"]),
    };
    let [voltage, equipment, kind, zone] = rest.map(str::to_owned);
    [(1_000_000 + node).to_string(), name, voltage, equipment, kind, zone]
}

/// A page of PJM's API with these rows, out of so many.
fn page(header: &str, rows: &[Vec<String>], total: usize, has_next: bool) -> String {
    let names: Vec<&str> = header.split(',').collect();
    let item = |cells: &Vec<String>| {
        let fields: Vec<String> = names.iter().zip(cells).map(|(name, cell)| field(name, cell)).collect();
        format!("{{{}}}", fields.join(","))
    };
    let items: Vec<String> = rows.iter().map(item).collect();
    let links: Vec<String> = ["self", "next"]
        .iter()
        .take(1 + usize::from(has_next))
        .map(|rel| format!("{{\"rel\":\"{rel}\",\"href\":\"https://example.com/{rel}\"}}"))
        .collect();
    format!(
        "{{\"links\":[{}],\"items\":[{}],\"searchSpecification\":{{\"rowCount\":100}},\"totalRows\":{total}}}",
        links.join(","),
        items.join(",")
    )
}

/// Numbers and truths as such, nothing as null, everything else as text.
fn field(name: &str, cell: &str) -> String {
    let is_number =
        cell.starts_with(|first: char| first.is_ascii_digit() || first == '-') && cell.parse::<f64>().is_ok();
    let value = match cell {
        "" => "null".to_owned(),
        "True" | "False" => cell.to_lowercase(),
        _ if is_number => cell.to_owned(),
        _ => serde_json::Value::from(cell).to_string(),
    };
    format!("\"{name}\":{value}")
}

/// The time as a clock of the zone shows it.
fn shown(time: i64, zone: Option<&TimeZone>, form: &str) -> String {
    let time = Timestamp::from_millisecond(time).unwrap_or_default();
    let local = zone.map(|zone| time.to_zoned(zone.clone()));
    local.map_or_else(String::new, |local| local.strftime(form).to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn documents_have_the_shape_of_their_market() {
        // 2026-11-24T11:00:00Z.
        let row = Row {
            node: 4,
            start: 1_795_518_000_000,
            congestion: -30_500_000,
            loss: 20_000,
            version: 2,
            is_current: false,
        };
        let shown = |report: Report, row: Row| {
            let prices = Prices {
                report,
                rows: vec![row],
            };
            let form = Form::Report;
            String::from_utf8(report.document(&prices.cells(form), form)).unwrap()
        };
        let energy = Report::MisoRealTime.energy(row.start);
        let price = Report::MisoRealTime.number(energy - 30_480_000);
        assert_eq!(
            shown(Report::MisoRealTime, row),
            format!(
                r#"{{"headers":["INTERVAL","CPNODE","LMP","MLC","MCC"],"data":[["2026-11-24T06:05:00","FAULT.NODE04","{price}","0.02","-30.50"]]}}"#
            )
        );
        let energy = Report::PjmHourly.energy(row.start);
        let [energy, price] = [energy, energy - 30_480_000].map(|value| Report::PjmHourly.number(value));
        assert_eq!(
            shown(Report::PjmHourly, row).lines().last(),
            Some(&*format!(
                "11/24/2026 11:00:00 AM,11/24/2026 6:00:00 AM,1000004,EASTERN HUB,,,HUB,,{energy},{price},-30.500000,0.020000,False,2"
            ))
        );
        let header = shown(Report::PjmDayAhead, row);
        assert!(
            header.contains("zone,system_energy_price_da,total_lmp_da,congestion_price_da,marginal_loss_price_da,row"),
            "{header}"
        );
        assert_eq!(Report::PjmHourly.number(-370_000), "-0.370000");
    }

    #[test]
    fn a_page_of_pjm_has_numbers_truths_and_nothing_as_such() {
        let cells = ["2026-11-24T11:00:00", "1000004", "", "-0.370000", "False", "12a", "\"B"].map(str::to_owned);
        let page = page("a,b,c,d,e,f,g", &[cells.to_vec()], 3, true);
        let expected = r#"{"links":[{"rel":"self","href":"https://example.com/self"},{"rel":"next","href":"https://example.com/next"}],"items":[{"a":"2026-11-24T11:00:00","b":1000004,"c":null,"d":-0.370000,"e":false,"f":"12a","g":"\"B"}],"searchSpecification":{"rowCount":100},"totalRows":3}"#;
        assert_eq!(page, expected);
    }
}
