use super::*;
use crate::time::utc as at;

#[test]
fn the_repeated_and_the_missing_hour_follow_the_rules_of_their_year() {
    // Until 2006 clocks changed on the first Sunday of April and the last one of October, since 2007 in March and November.
    for (zone, day, standard) in [
        (&EASTERN, (2005, 10, 30), 5),
        (&EASTERN, (2025, 11, 2), 5),
        (&CENTRAL, (1990, 10, 28), 6),
        (&CENTRAL, (2016, 11, 6), 6),
        (&PACIFIC, (2019, 11, 3), 8),
    ] {
        let (year, month, day) = day;
        let wall = at(year, month, day, 1) + 30 * MINUTE;
        let second = wall + standard * HOUR;
        assert_eq!(zone.instants(wall), Instants::Twice(second - HOUR, second));
        assert_eq!(zone.utc(wall, Some(Pass::First)), Ok(second - HOUR));
        assert_eq!(zone.utc(wall, Some(Pass::Second)), Ok(second));
        assert_eq!(
            zone.utc(wall, None).map_err(|error| error.code),
            Err(RejectCode::AmbiguousTime)
        );
        assert_eq!((zone.wall(second), zone.wall(second - HOUR)), (wall, wall));
    }
    for (zone, year, month, day) in [
        (&EASTERN, 2006, 4, 2),
        (&EASTERN, 2026, 3, 8),
        (&CENTRAL, 2007, 3, 11),
        (&PACIFIC, 1987, 4, 5),
    ] {
        let wall = at(year, month, day, 2) + MINUTE;
        assert_eq!(zone.instants(wall), Instants::Never);
        assert_eq!(
            zone.utc(wall, None).map_err(|error| error.code),
            Err(RejectCode::InvalidTime)
        );
    }
}

#[test]
fn a_mark_of_repetition_at_another_time_is_refused() {
    let wall = at(2025, 11, 2, 3);
    assert_eq!(
        CENTRAL.utc(wall, Some(Pass::Second)).map_err(|error| error.code),
        Err(RejectCode::InvalidTime)
    );
    assert_eq!(CENTRAL.utc(wall, Some(Pass::First)), Ok(wall + 6 * HOUR));
}

#[test]
fn stamps_are_read_in_every_style_of_the_markets() {
    let wall = at(2025, 9, 1, 4) + 5 * MINUTE;
    for text in [
        "9/1/2025 4:05:00 AM",
        "09/01/2025 04:05:00 am",
        "9/1/2025 4:05AM",
        "9/1/2025 4:05",
        "09/01/2025 04:05",
        "09/01/2025 04:05:00.000",
        "2025-09-01T04:05:00",
        "2025-09-01 04:05",
    ] {
        assert_eq!(local(text, "c"), Ok(wall), "{text}");
    }
    assert_eq!(local("9/1/2025 12:00:00 AM", "c"), Ok(at(2025, 9, 1, 0)));
    assert_eq!(local("9/1/2025 12:00:00 PM", "c"), Ok(at(2025, 9, 1, 12)));
    assert_eq!(local("9/1/2025 24:00", "c"), Ok(at(2025, 9, 2, 0)));
    for text in [
        "",
        "9/1/25 4:05",
        "2025-09-01",
        "13/1/2025 4:05",
        "2/30/2025 4:05",
        "9/1/2025 25:00",
        "9/1/2025 4:5",
        "9/1/2025 13:00 PM",
        "9/1/2025 4:05:60",
        "9/1/2025",
        "9/1/2025 4",
        "2025-09-01T04:05:00Z",
    ] {
        assert!(local(text, "c").is_err(), "{text}");
    }
    for text in [
        "11/2/2025",
        "11/02/2025",
        "2025-11-02",
        "Nov 2, 2025",
        "November 02, 2025",
        "02-Nov-2025",
        "2025-11-02T00:00:00",
    ] {
        assert_eq!(date(text, "c"), Ok(at(2025, 11, 2, 0)), "{text}");
    }
    assert!(date("2025-11-02T01:00:00", "c").is_err());
}

#[test]
fn hours_ending_are_one_to_twenty_four() {
    for text in ["1", "01", "1:00", "01:00", "HE 1", "HE1", "01:00:00"] {
        assert_eq!(hour_ending(text, "c"), Ok(1), "{text}");
    }
    assert_eq!(hour_ending("24:00", "c"), Ok(24));
    for text in ["0", "25", "", "02X", "1:30", "1.0", "-1"] {
        assert!(hour_ending(text, "c").is_err(), "{text}");
    }
}
