//! What is around the rows of an OASIS report in XML: its root, and what follows it. And the reasons that name fields of the format.

use markets::RejectCode;

use crate::common::{read, refused_whole};

const FORMAT: &str = "caiso.oasis.xml";

fn report(number: u8) -> String {
    let rows = [("LMP_PRC", "3"), ("LMP_ENE_PRC", "1"), ("LMP_CONG_PRC", "1"), ("LMP_LOSS_PRC", "1")].map(|(item, value)| {
        format!(
            "<m:REPORT_DATA><m:DATA_ITEM>{item}</m:DATA_ITEM><m:RESOURCE_NAME>A</m:RESOURCE_NAME><m:OPR_DATE>2019-11-03</m:OPR_DATE>\
             <m:INTERVAL_NUM>{number}</m:INTERVAL_NUM><m:INTERVAL_START_GMT>2019-11-03T09:00:00-00:00</m:INTERVAL_START_GMT>\
             <m:INTERVAL_END_GMT>2019-11-03T10:00:00-00:00</m:INTERVAL_END_GMT><m:VALUE>{value}</m:VALUE></m:REPORT_DATA>\n"
        )
    });
    format!(
        "<m:OASISReport xmlns:m=\"x\"><m:MessagePayload><m:RTO><m:REPORT_ITEM><m:REPORT_HEADER><m:MKT_TYPE>DAM</m:MKT_TYPE></m:REPORT_HEADER>\
         {}</m:REPORT_ITEM></m:RTO></m:MessagePayload></m:OASISReport>\n",
        rows.concat()
    )
}

#[test]
fn nothing_but_blanks_and_comments_follows_the_root_of_an_oasis_report() {
    let one = report(25);
    let prolog = "<?xml version=\"1.0\"?>\n<!-- a comment -->\n";
    for text in [
        one.clone(),
        format!("{prolog}{one}"),
        format!("{one} \r\n\t<!-- a comment -->\n<?sent by=\"x\"?>\n"),
    ] {
        let found = read(FORMAT, text.as_bytes()).unwrap();
        assert_eq!((found.ticks.len(), found.rejected.len()), (1, 0), "{text}");
    }
    let line = one.lines().count() + 1;
    for (rest, what) in [
        (one.clone(), "another report begins"),
        (format!("{prolog}{one}"), "another document begins"),
        (one.replace("OASISReport", "m:X"), "another element begins"),
        ("<html><body>busy</body></html>".to_owned(), "another element begins"),
        ("<html/>".to_owned(), "another element begins"),
        ("garbage".to_owned(), "text follows"),
        ("<![CDATA[x]]>".to_owned(), "text follows"),
        ("&amp;".to_owned(), "text follows"),
        ("<!DOCTYPE html>".to_owned(), "another document begins"),
    ] {
        let text = format!("{one}{rest}");
        refused_whole(FORMAT, text.as_bytes(), RejectCode::SchemaViolation, what);
        refused_whole(
            FORMAT,
            text.as_bytes(),
            RejectCode::SchemaViolation,
            &format!("line {line}"),
        );
        refused_whole(FORMAT, text.as_bytes(), RejectCode::SchemaViolation, "send");
    }
}

#[test]
fn another_root_is_named() {
    let text = "<a>".repeat(200_000);
    refused_whole(FORMAT, text.as_bytes(), RejectCode::SchemaViolation, "its root is <a>");
    refused_whole(
        FORMAT,
        b"<?xml version=\"1.0\"?><soap:Fault><x/></soap:Fault>",
        RejectCode::SchemaViolation,
        "its root is <soap:Fault>",
    );
    refused_whole(FORMAT, b"<HTML><body>", RejectCode::SchemaViolation, "an HTML page");
    refused_whole(FORMAT, b"<OASISReport/>", RejectCode::SchemaViolation, "empty");
    let rejection = read(FORMAT, b"<a></a>").unwrap_err();
    assert!(!rejection.message.contains("HTML"), "{rejection}");
}

#[test]
fn the_number_of_an_interval_is_named_as_xml_names_it() {
    let found = read(FORMAT, report(7).as_bytes()).unwrap();
    assert_eq!(found.ticks.len(), 0);
    for message in &found.messages {
        assert!(
            message.contains("OPR_DATE and INTERVAL_NUM \"7\"") && !message.contains("OPR_HR"),
            "{message}"
        );
    }
    let csv = "INTERVALSTARTTIME_GMT,INTERVALENDTIME_GMT,OPR_DT,OPR_HR,NODE,MARKET_RUN_ID,LMP_TYPE,MW\n\
               2019-11-03T09:00:00-00:00,2019-11-03T10:00:00-00:00,2019-11-03,7,A,DAM,LMP,1\n";
    let found = read("caiso.prc_lmp.csv", csv.as_bytes()).unwrap();
    assert!(
        found.messages[0].contains("OPR_DT and OPR_HR \"7\""),
        "{}",
        found.messages[0]
    );
}
