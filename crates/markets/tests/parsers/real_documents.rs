//! The real documents next to the project, with figures that were computed independently of the parsers.

use std::collections::{BTreeMap, BTreeSet};

use domain::{Decimal, QualityFlag};
use markets::detect_format;

use crate::common::{document, every_cut_is_a_part, normalizer, samples_or_skip};

/// File, ticks, sums of price, congestion and loss, distinct starts, first and last start.
type Figures = (
    &'static str,
    usize,
    &'static str,
    &'static str,
    &'static str,
    usize,
    &'static str,
    &'static str,
);

const FILES: &[Figures] = &[
    (
        "caiso/PRC_LMP_DAM_ghg_nodes_20240419.csv",
        48,
        "1386.41765",
        "498.94694",
        "23.38385",
        24,
        "2024-04-19T07:00:00Z",
        "2024-04-20T06:00:00Z",
    ),
    (
        "caiso/PRC_LMP_DAM_slack_nodes_20190210.csv",
        72,
        "8862.36039",
        "92.40536",
        "-127.66612",
        24,
        "2019-02-10T08:00:00Z",
        "2019-02-11T07:00:00Z",
    ),
    (
        "caiso/PRC_LMP_DAM_slack_nodes_20200405.csv",
        72,
        "1492.76672",
        "-7.01914",
        "-25.22682",
        24,
        "2020-04-05T07:00:00Z",
        "2020-04-06T06:00:00Z",
    ),
    (
        "caiso/PRC_LMP_DAM_slack_nodes_dst_fall_20191103.csv",
        75,
        "2757.49271",
        "-29.08515",
        "-51.21711",
        25,
        "2019-11-03T07:00:00Z",
        "2019-11-04T07:00:00Z",
    ),
    (
        "caiso/PRC_RTPD_LMP_CAS_PP_GNODE7_20230917.csv",
        28,
        "1157.25611",
        "-117.02227",
        "5.29663",
        28,
        "2023-09-18T00:00:00Z",
        "2023-09-18T06:45:00Z",
    ),
    (
        "caiso/PRC_RTPD_LMP_MIL1_3_PASGNODE_20230917.csv",
        28,
        "1068.79013",
        "-117.02227",
        "-83.16937",
        28,
        "2023-09-18T00:00:00Z",
        "2023-09-18T06:45:00Z",
    ),
    (
        "ercot/np4-190_dam_spp_hubavg_dst_fall_20251102.json",
        25,
        "814.62",
        "0",
        "0",
        25,
        "2025-11-02T05:00:00Z",
        "2025-11-03T05:00:00Z",
    ),
    (
        "ercot/np6-788_sced_lmp_20260625_004018_part.csv",
        47,
        "1222.58",
        "0",
        "0",
        1,
        "2026-06-25T05:40:18Z",
        "2026-06-25T05:40:18Z",
    ),
    (
        "ercot/np6-905_spp_15min_20240329_0100_part.csv",
        459,
        "694.98",
        "0",
        "0",
        1,
        "2024-03-29T05:45:00Z",
        "2024-03-29T05:45:00Z",
    ),
    (
        "gas/henry_hub_daily_spot_2021.csv",
        251,
        "977.47",
        "0",
        "0",
        251,
        "2021-01-04T15:00:00Z",
        "2021-12-31T15:00:00Z",
    ),
    (
        "isone/WW_DALMP_ISO_20260604_ext_nodes.csv",
        198,
        "8676.5",
        "-37.41",
        "-205.69",
        24,
        "2026-06-04T04:00:00Z",
        "2026-06-05T03:00:00Z",
    ),
    (
        "isone/WW_DALMP_ISO_20260604_part.csv",
        282,
        "12408.75",
        "-4.58",
        "-29.58",
        24,
        "2026-06-04T04:00:00Z",
        "2026-06-05T03:00:00Z",
    ),
    (
        "isone/lmp_rt_final_20260602_he01_12_part.csv",
        144,
        "4821.17",
        "0",
        "-11.74",
        12,
        "2026-06-02T04:00:00Z",
        "2026-06-02T15:00:00Z",
    ),
    (
        "isone/ws_hourlylmp_da_final_hub_dst_fall_20251102.json",
        25,
        "1064.63",
        "0",
        "2.43",
        25,
        "2025-11-02T04:00:00Z",
        "2025-11-03T04:00:00Z",
    ),
    (
        "miso/20251102_da_expost_lmp_part.csv",
        264,
        "7642.56",
        "-118.98",
        "42.28",
        24,
        "2025-11-02T05:00:00Z",
        "2025-11-03T04:00:00Z",
    ),
    (
        "miso/GetExAnteLmp_20261002_1650.json",
        9,
        "293.2",
        "-2.2",
        "0.74",
        1,
        "2026-10-02T21:45:00Z",
        "2026-10-02T21:45:00Z",
    ),
    (
        "miso/GetRealTimeFiveMinExPost_Current_20261002T1650_part.json",
        27,
        "839.44",
        "-52.6",
        "-39.46",
        1,
        "2026-10-02T21:45:00Z",
        "2026-10-02T21:45:00Z",
    ),
    (
        "miso/GetRealTimeFiveMinExPost_Previous_20261001_0000_0010.json",
        66,
        "2027.29",
        "-158.03",
        "-5.66",
        3,
        "2026-10-01T04:55:00Z",
        "2026-10-01T05:05:00Z",
    ),
    (
        "nyiso/20251102damlbmp_zone_dst_fall_3zones.csv",
        75,
        "3514.95",
        "0",
        "12.18",
        25,
        "2025-11-02T04:00:00Z",
        "2025-11-03T04:00:00Z",
    ),
    (
        "nyiso/damlbmp_zone_20220718.csv",
        360,
        "30624.47",
        "1290.72",
        "1456.7",
        24,
        "2022-07-18T04:00:00Z",
        "2022-07-19T03:00:00Z",
    ),
    (
        "nyiso/realtime_zone_20160218_0015_0045.csv",
        45,
        "939.36",
        "0",
        "49.37",
        3,
        "2016-02-18T05:10:00Z",
        "2016-02-18T05:40:00Z",
    ),
    (
        "nyiso/realtime_zone_20220718_0005_0600.csv",
        1140,
        "74673.91",
        "16780.07",
        "2445.18",
        76,
        "2022-07-18T04:00:00Z",
        "2022-07-18T09:55:00Z",
    ),
    (
        "nyiso/realtime_zone_20220718_1605_1700_offgrid.csv",
        270,
        "19952.83",
        "12426.28",
        "329.12",
        18,
        "2022-07-18T20:00:00Z",
        "2022-07-18T20:59:05Z",
    ),
    (
        "pjm/da_hrl_lmps_aldene_dst_fall_20251102.csv",
        25,
        "1169.56",
        "-41.35",
        "2.44",
        25,
        "2025-11-02T04:00:00Z",
        "2025-11-03T04:00:00Z",
    ),
    (
        "pjm/da_hrl_lmps_hubs_20250623.csv",
        288,
        "28014.00368",
        "-2932.597691",
        "-588.918629",
        24,
        "2025-06-23T04:00:00Z",
        "2025-06-24T03:00:00Z",
    ),
    (
        "pjm/rt_fivemin_hrl_lmps_rto_20250901_0000_0200.csv",
        24,
        "435.545266",
        "0.685923",
        "0.219342",
        24,
        "2025-09-01T04:00:00Z",
        "2025-09-01T05:55:00Z",
    ),
    (
        "pjm/rt_hrl_lmps_aldene_dst_fall_20251102_03.csv",
        49,
        "2091.27",
        "63.3",
        "24.5",
        49,
        "2025-11-02T04:00:00Z",
        "2025-11-04T04:00:00Z",
    ),
    (
        "pjm/rt_hrl_lmps_hubs_20250622_24.csv",
        864,
        "159686.066408",
        "-7123.070726",
        "-3762.722916",
        72,
        "2025-06-22T04:00:00Z",
        "2025-06-25T03:00:00Z",
    ),
    (
        "pjm/rt_hrl_lmps_hubs_20250714.csv",
        288,
        "15958.756387",
        "-1265.843414",
        "-248.530221",
        24,
        "2025-07-14T04:00:00Z",
        "2025-07-15T03:00:00Z",
    ),
    (
        "spp/DA-LMP-SL-202511020100_dst_fall_part.csv",
        56,
        "1101.9338",
        "73.0997",
        "-5.2129",
        25,
        "2025-11-02T05:00:00Z",
        "2025-11-03T05:00:00Z",
    ),
    (
        "spp/DA-LMP-SL-202604120100_negative_baa_part.csv",
        57,
        "-197.294",
        "-307.2945",
        "-4.385",
        24,
        "2026-04-12T05:00:00Z",
        "2026-04-13T04:00:00Z",
    ),
    (
        "spp/DA-LMP-SL-202606040100_uppercase_he01_04.csv",
        12,
        "127.3595",
        "12.0225",
        "1.0711",
        4,
        "2026-06-04T05:00:00Z",
        "2026-06-04T08:00:00Z",
    ),
];

fn expected_format(file: &str) -> &'static str {
    let is = |part: &str| file.contains(part);
    match file.split('/').next().unwrap() {
        "miso" if is("FiveMinExPost") => "miso.rt5.expost.json",
        "miso" if is("GetExAnteLmp") => "miso.exante.json",
        "miso" => "miso.da.expost.csv",
        "caiso" if is("RTPD") => "caiso.prc_rtpd_lmp.csv",
        "caiso" => "caiso.prc_lmp.csv",
        "ercot" if is("np4-190") => "ercot.np4-190.json",
        "ercot" if is("np6-788") => "ercot.np6-788.csv",
        "ercot" => "ercot.np6-905.csv",
        "pjm" if is("fivemin") => "pjm.rt_fivemin_hrl_lmps.csv",
        "pjm" if is("rt_hrl") => "pjm.rt_hrl_lmps.csv",
        "pjm" => "pjm.da_hrl_lmps.csv",
        "nyiso" if is("damlbmp") => "nyiso.damlbmp_zone.csv",
        "nyiso" => "nyiso.realtime_zone.csv",
        "isone" if is("WW_DALMP") => "isone.da_lmp.csv",
        "isone" if is("rt_final") => "isone.rt_lmp_final.csv",
        "isone" => "isone.ws_hourlylmp.json",
        "spp" => "spp.da_lmp_sl.csv",
        _ => "gas.eia_daily.csv",
    }
}

#[test]
fn every_real_document_is_recognised() {
    let Some(folder) = samples_or_skip("every_real_document_is_recognised") else {
        return;
    };
    let mut seen = 0;
    for market in std::fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().path()) {
        for path in market
            .read_dir()
            .into_iter()
            .flatten()
            .map(|entry| entry.unwrap().path())
        {
            let name = path.file_name().unwrap().to_str().unwrap();
            let payload = std::fs::read(&path).unwrap();
            let file = path.strip_prefix(&folder).unwrap().to_str().unwrap();
            let format = detect_format(name, &payload[..payload.len().min(4096)]);
            let expected = (!file.starts_with("trades")).then(|| expected_format(file));
            assert_eq!(format, expected, "{file}");
            seen += usize::from(format.is_some());
        }
    }
    assert_eq!(seen, FILES.len());
}

#[test]
fn every_row_of_every_real_document_is_a_tick_with_the_published_numbers() {
    let Some(folder) = samples_or_skip("every_row_of_every_real_document_is_a_tick_with_the_published_numbers") else {
        return;
    };
    for (file, count, price, congestion, loss, starts, first, last) in FILES {
        let payload = std::fs::read(folder.join(file)).unwrap();
        let (mut sums, mut seen, mut flags) = ([0_i128; 3], BTreeSet::new(), BTreeSet::new());
        let mut energies: BTreeMap<_, BTreeSet<i64>> = BTreeMap::new();
        let message = document(expected_format(file), &payload);
        let outcome = normalizer().normalize(&message, 5, &mut |tick| {
            let parts = [Some(tick.price), tick.congestion, tick.loss];
            for (sum, part) in sums.iter_mut().zip(parts) {
                *sum += i128::from(part.map_or(0, Decimal::unscaled));
            }
            seen.insert(tick.event_time);
            if let Some(energy) = tick.energy {
                // SPP's western area has a price of its own.
                let interval = (
                    tick.event_time,
                    tick.interval_end,
                    tick.instrument_id.contains(".SWPW."),
                );
                energies.entry(interval).or_default().insert(energy.unscaled());
            }
            flags.extend(tick.quality_flags.iter().map(QualityFlag::name));
        });
        let outcome = outcome.unwrap_or_else(|rejection| panic!("{file}: {rejection}"));
        assert_eq!(
            outcome.rejected.count(),
            0,
            "{file}: {:?}",
            outcome.rejected.first.first()
        );
        assert_eq!(outcome.ticks as usize, *count, "{file}");
        let expected =
            [price, congestion, loss].map(|text| i128::from(Decimal::parse(text.as_bytes()).unwrap().unscaled()));
        assert_eq!(sums, expected, "{file}");
        let instant = |text: &str| text.parse::<jiff::Timestamp>().unwrap().as_microsecond();
        assert_eq!(
            (seen.len(), *seen.first().unwrap(), *seen.last().unwrap()),
            (*starts, instant(first), instant(last)),
            "{file}"
        );
        for (interval, energies) in energies {
            let spread = energies.last().unwrap() - energies.first().unwrap();
            assert!(
                spread <= 2_000_000,
                "{file}: energy differs between nodes at {interval:?}: {energies:?}"
            );
        }
        for flag in [
            "component_mismatch",
            "off_grid",
            "rounded",
            "missing_metadata",
            "unknown_node",
        ] {
            assert!(!flags.contains(flag), "{file} has {flag}");
        }
    }
}

#[test]
fn no_real_document_that_is_cut_has_a_tick_that_the_whole_lacks() {
    let Some(folder) = samples_or_skip("no_real_document_that_is_cut_has_a_tick_that_the_whole_lacks") else {
        return;
    };
    for (file, ..) in FILES {
        let payload = std::fs::read(folder.join(file)).unwrap();
        every_cut_is_a_part(expected_format(file), &payload, 97);
    }
}
