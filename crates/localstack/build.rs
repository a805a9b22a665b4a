//! Lets the engine's library find the `write` of `dp-clickhouse` (see `full_disk.rs` there) before libc's.

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    println!("cargo:rustc-link-arg-bin=dp-clickhouse=-Wl,--export-dynamic-symbol=write");
}
