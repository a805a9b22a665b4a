//! Makes the engine's library resolve `write` to that of `dp-clickhouse` (see `full_disk.rs` there) instead of libc's.

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    println!("cargo:rustc-link-arg-bin=dp-clickhouse=-Wl,--export-dynamic-symbol=write");
}
