//! Rows of one document that contradict each other: one instrument and interval with two prices.

use crate::common::read;

const DAY_AHEAD: &str = "DeliveryDate,HourEnding,SettlementPoint,SettlementPointPrice,DSTFlag\n";
const QUARTERS: &str =
    "DeliveryDate,DeliveryHour,DeliveryInterval,SettlementPointName,SettlementPointType,SettlementPointPrice,DSTFlag\n";

/// Documents with one instrument and interval twice; `%` is the price of the second row, which is 1.5 in the first one.
fn twice() -> Vec<(&'static str, String)> {
    let pjm = "datetime_beginning_utc,datetime_beginning_ept,pnode_id,pnode_name,voltage,equipment,type,zone,system_energy_price_rt,total_lmp_rt,\
         congestion_price_rt,marginal_loss_price_rt,row_is_current,version_nbr\n";
    let pjm_row =
        |price: &str| format!("6/23/2025 4:00:00 AM,6/23/2025 12:00:00 AM,1,WEST,,,HUB,,1.5,{price},0,0,True,1\n");
    let nyiso = "Time Stamp,Name,PTID,LBMP ($/MWHr),Marginal Cost Losses ($/MWHr),Marginal Cost Congestion ($/MWHr)\n";
    vec![
        (
            "nyiso.realtime_zone.csv",
            format!("{nyiso}07/18/2022 00:05:00,WEST,1,1.5,0,0\n07/18/2022 00:05:00,WEST,1,%,0,0\n07/18/2022 00:10:00,WEST,1,1.5,0,0\n"),
        ),
        (
            "nyiso.damlbmp_zone.csv",
            format!("{nyiso}07/18/2022 00:00,WEST,1,1.5,0,0\n07/18/2022 01:00,WEST,1,1.5,0,0\n07/18/2022 00:00,WEST,1,%,0,0\n"),
        ),
        (
            "miso.rt5.expost.json",
            r#"{"headers":["INTERVAL","CPNODE","LMP","MLC","MCC"],"data":[["2026-07-04T10:00:00","A","1.5","0","0"],
               ["2026-07-04T10:05:00","A","1.5","0","0"],["2026-07-04T10:00:00","A","%","0","0"]]}"#
                .to_owned(),
        ),
        (
            "pjm.rt_hrl_lmps.csv",
            pjm.to_owned() + &pjm_row("1.5") + &pjm_row("9").replace(",1\n", ",2\n") + &pjm_row("%"),
        ),
        (
            "ercot.np6-788.csv",
            "SCEDTimestamp,RepeatedHourFlag,SettlementPoint,LMP\n06/25/2026 00:40:18,N,A,1.5\n06/25/2026 00:40:18,N,B,7\n06/25/2026 00:40:18,N,A,%\n".to_owned(),
        ),
        (
            "ercot.np4-190.csv",
            DAY_AHEAD.to_owned() + "06/25/2026,01:00,A,1.5,N\n06/25/2026,02:00,A,1.5,N\n06/25/2026,01:00,A,%,N\n",
        ),
        (
            "ercot.np6-905.csv",
            QUARTERS.to_owned() + "06/25/2026,1,1,A,LZ,1.5,N\n06/25/2026,1,1,A,LZEW,8,N\n06/25/2026,1,1,A,LZ,%,N\n",
        ),
        (
            "spp.da_lmp_sl.csv",
            "Interval,GMTIntervalEnd,Settlement Location,Pnode,LMP,MLC,MCC,MEC\n06/04/2026 01:00:00,06/04/2026 06:00:00,A,P,1.5,0,0,1.5\n\
             06/04/2026 02:00:00,06/04/2026 07:00:00,A,P,1,0,0,1\n06/04/2026 01:00:00,06/04/2026 06:00:00,A,P,%,0,0,1.5\n"
                .to_owned(),
        ),
        ("gas.eia_daily.csv", "Date,Price\n2021-02-04,1.5\n2021-02-05,2\n2021-02-04,%\n".to_owned()),
    ]
}

#[test]
fn another_price_of_an_instrument_and_interval_is_refused_and_the_same_one_is_not() {
    for (format, text) in twice() {
        let same = read(format, text.replace('%', "1.50").as_bytes()).unwrap();
        assert_eq!(
            (same.ticks.len(), same.rejected.len()),
            (3, 0),
            "{format}: {:?}",
            same.messages
        );
        let other = read(format, text.replace('%', "2.5").as_bytes()).unwrap();
        assert_eq!(other.ticks.len(), 2, "{format}: {:?}", other.ticks);
        let [message] = other.messages.as_slice() else {
            panic!("{format}: {:?}", other.messages);
        };
        assert!(other.rejected[0].ends_with("schema_violation"), "{message}");
        for part in ["2.5", "1.5", "an earlier row", "send"] {
            assert!(message.contains(part), "{format}: {message}");
        }
    }
}

#[test]
fn another_component_at_the_same_price_is_refused() {
    let header = "datetime_beginning_utc,datetime_beginning_ept,pnode_id,pnode_name,voltage,equipment,type,zone,system_energy_price_da,total_lmp_da,\
         congestion_price_da,marginal_loss_price_da,row_is_current,version_nbr\n";
    let row = |parts: &str| format!("6/23/2025 4:00:00 AM,6/23/2025 12:00:00 AM,1,WEST,,,HUB,,{parts},True,1\n");
    let found = |second: &str| {
        let text = header.to_owned() + &row("25,33,7.5,0.5") + &row(second);
        read("pjm.da_hrl_lmps.csv", text.as_bytes()).unwrap()
    };
    assert_eq!(found("25.0,33.00,7.50,.5").rejected, [""; 0]);
    let other = found("5,33,27.5,0.5");
    assert_eq!(
        (other.ticks.len(), other.rejected.len()),
        (1, 1),
        "{:?}",
        other.messages
    );
    assert!(
        other.messages[0].contains("the components of the price of PJM.WEST.DA"),
        "{:?}",
        other.messages
    );
}

/// What was read of one document decides nothing in the next one, where another price is a correction.
#[test]
fn a_later_document_may_have_another_price() {
    let (format, text) = twice().remove(0);
    let mut normalizer = crate::common::normalizer();
    for price in ["1.5", "2.5", "1.5"] {
        let text = text.replace('%', price).replace("1.5", price);
        let message = crate::common::document(format, text.as_bytes());
        let outcome = normalizer.normalize(&message, 5, &mut |_| {}).unwrap();
        assert_eq!((outcome.ticks, outcome.rejected.count()), (3, 0));
    }
}
