//! Single ticks whose instrument id ends with another product than their own.

use std::cell::RefCell;

use domain::{QualityFlag, Tick};
use markets::quality::Check;
use markets::{Normalizer, NormalizerConfig, RawMessage, RejectCode, Rejection};
use serde_json::json;

use crate::common::{LATER, message};

fn sent(config: NormalizerConfig, market: &str, instrument: &str, product: Option<&str>) -> Result<bool, Rejection> {
    let mut payload = json!({
        "envelope": {"event_type": "t", "event_id": "e", "timestamp": "2027-05-31T23:59:00Z", "tenant_id": "acme", "source": "s", "version": "1.0"},
        "payload": {"market": market, "instrument_id": instrument,
            "raw_data": {"timestamp": "2027-05-31T23:59:00Z", "price": 31.55, "volume": 1, "node": "N", "zone": "Z", "hub": "H"}}
    });
    if let Some(product) = product {
        payload["payload"]["raw_data"]["product"] = json!(product);
    }
    let payload = payload.to_string();
    let message = RawMessage {
        appended_at: LATER,
        ..message(payload.as_bytes())
    };
    let flagged = RefCell::new(Vec::new());
    let emit = &mut |tick: &Tick<'_>| {
        let is_flagged = tick.quality_flags.contains(QualityFlag::UnknownNode);
        flagged.borrow_mut().push(is_flagged);
    };
    Normalizer::new(config).normalize(&message, 5, emit)?;
    let flagged = flagged.into_inner();
    assert_eq!(flagged.len(), 1, "{instrument}");
    Ok(flagged[0])
}

#[test]
fn a_tick_whose_id_names_another_product_is_flagged_or_refused_as_configured() {
    for (market, instrument, product, expected) in [
        ("MISO", "MISO.MINN.HUB.DA", Some("rt5"), true),
        ("miso", "MISO.MINN.HUB.RT5", Some("day_ahead"), true),
        ("PJM", "PJM.WESTERN%20HUB.RTH", Some("RT5"), true),
        ("ERCOT", "ERCOT.HB_NORTH.RT5", Some("real_time"), true),
        ("GAS", "GAS.HENRY_HUB.SPOT", Some("da"), true),
        // Its own product, also in its other spellings.
        ("MISO", "MISO.MINN.HUB.RT5", Some("rt5"), false),
        ("MISO", "MISO.MINN.HUB.DA", Some("day-ahead"), false),
        ("ERCOT", "ERCOT.HB_NORTH.RT15", Some("real_time"), false),
        // No product: a trade.
        ("MISO", "MISO.MINN.HUB.RT5", None, false),
        ("MISO", "MISO.MINN.HUB.RT5", Some("trade"), false),
        // Not the id of a location and a product of the market.
        ("MISO", "MISO.DA", Some("rt5"), false),
        ("MISO", "OWN.NAME.DA", Some("rt5"), false),
        ("MISO", "MISO.MINN.HUB.da", Some("rt5"), false),
        ("MISO", "MISO.FAULT.DA03", Some("rt5"), false),
        ("MISO", "NG_HH_M1", Some("rt5"), false),
    ] {
        let found = sent(NormalizerConfig::default(), market, instrument, product);
        assert_eq!(found, Ok(expected), "{instrument} {product:?}");
        let mut config = NormalizerConfig::default();
        config.quality.rejecting = [Check::ProductOfId].into_iter().collect();
        match sent(config, market, instrument, product) {
            Ok(is_flagged) => assert!(!expected && !is_flagged, "{instrument} {product:?}"),
            Err(rejection) => {
                assert!(expected, "{instrument} {product:?}: {rejection}");
                assert_eq!(rejection.code, RejectCode::QualityRule);
                assert!(rejection.message.contains("product_of_id"), "{rejection}");
            }
        }
    }
}
