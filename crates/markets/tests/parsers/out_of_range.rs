//! Dates beyond the years that a time may have.

use crate::common::read;

#[test]
fn a_year_that_no_zone_is_known_for_is_out_of_range() {
    for (format, text) in [
        (
            "ercot.np6-905.csv",
            "DeliveryDate,DeliveryHour,DeliveryInterval,SettlementPointName,SettlementPointType,SettlementPointPrice,DSTFlag\n12/31/9999,24,4,A,LZ,1,N\n",
        ),
        (
            "ercot.np6-788.csv",
            "SCEDTimestamp,RepeatedHourFlag,SettlementPoint,LMP\n12/31/9999 23:55:00,N,A,1\n",
        ),
        (
            "ercot.np4-190.csv",
            "DeliveryDate,HourEnding,SettlementPoint,SettlementPointPrice,DSTFlag\n12/31/9999,24:00,A,1,N\n",
        ),
        (
            "isone.smd_hourly.csv",
            "Date,Hr_End,DA_LMP,DA_EC,DA_CC,DA_MLC,RT_LMP,RT_EC,RT_CC,RT_MLC,Location\n12/31/9999,24,1,1,0,0,1,1,0,0,A\n",
        ),
        ("gas.eia_daily.csv", "Date,Price\n9999-12-31,1.5\n"),
    ] {
        let found = read(format, text.as_bytes()).unwrap();
        assert!(found.ticks.is_empty(), "{format}");
        assert!(
            found.rejected[0].ends_with("time_out_of_range"),
            "{format}: {:?}",
            found.rejected
        );
        let message = &found.messages[0];
        assert!(
            message.contains("9999-12-31") && message.contains("correct"),
            "{format}: {message}"
        );
    }
}
