//! The parsers of messages and documents, on hand-made, generated and real ones.
//!
//! Role: one program for all of them, since linking a test program takes longer than most of these tests.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod clock_rules;
mod common;
mod contradictions;
mod cuts;
mod diagnosis;
mod documents;
mod documents_of_the_load;
mod equal_energy;
mod ercot_pages;
mod ercot_pjm;
mod events;
mod guide;
mod hourly;
mod joined;
mod miso_caiso;
mod nyiso_isone_spp_gas;
mod out_of_range;
mod product_of_id;
mod properties;
mod real_documents;
mod repeated_hour;
mod robustness;
mod second_reading;
mod settlements;
mod shapes;
mod spellings;
mod xml_frame;
