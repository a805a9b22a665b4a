//! Names of addresses: the functions in the symbol tables of the program and its libraries, else the file that the address is in.
//!
//! A program keeps this table when its debug information is stripped, so every image has the same names. The names in the debug information are
//! not used: with line tables only, they have no path. So the time of a function that the compiler has inlined is that of its caller.
//! Failure: an address without a name is shown as its file in brackets; a file that cannot be read has no names.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fs::File;
use std::path::{Path, PathBuf};

use object::read::{ReadCache, ReadRef};
use object::{Object, ObjectSegment, ObjectSymbol, SymbolKind};
use procfs::process::{MMapPath, Process};

/// Shown where not even the file is known.
const UNKNOWN: &str = "[unknown]";

/// The names of these addresses.
pub(crate) struct Symbols {
    names: HashMap<usize, String>,
}

/// A part of a file in memory.
struct Mapped {
    from: u64,
    to: u64,
    /// Where the part begins in the file.
    offset: u64,
    path: PathBuf,
}

impl Symbols {
    /// Looks these addresses up in this process.
    pub(crate) fn of(addresses: impl IntoIterator<Item = usize>) -> Symbols {
        let addresses: BTreeSet<usize> = addresses.into_iter().collect();
        let (maps, program) = maps();
        let mut names = HashMap::new();
        let mut files: BTreeMap<&Path, Vec<(usize, u64)>> = BTreeMap::new();
        for address in addresses {
            let at = address as u64;
            let Some(map) = maps.iter().find(|map| (map.from..map.to).contains(&at)) else {
                continue;
            };
            names.insert(address, in_brackets(&map.path));
            let place = (address, at - map.from + map.offset);
            files.entry(&map.path).or_default().push(place);
        }
        for (path, places) in files {
            // The file of a program that was replaced is still the one that runs.
            let is_program = program.as_deref().is_some_and(|program| program == path);
            let opened = if is_program { Path::new("/proc/self/exe") } else { path };
            let Ok(file) = File::open(opened) else { continue };
            names.extend(functions(&ReadCache::new(file), &places));
        }
        Symbols { names }
    }

    /// The function at an address, else its file.
    pub(crate) fn name(&self, address: usize) -> &str {
        self.names.get(&address).map_or(UNKNOWN, String::as_str)
    }
}

/// What is mapped from files, and the program.
fn maps() -> (Vec<Mapped>, Option<PathBuf>) {
    let Ok(process) = Process::myself() else {
        return (Vec::new(), None);
    };
    let mapped = |map: procfs::process::MemoryMap| {
        let path = match map.pathname {
            MMapPath::Path(path) => path,
            MMapPath::Vdso => PathBuf::from("vdso"),
            _ => return None,
        };
        Some(Mapped {
            from: map.address.0,
            to: map.address.1,
            offset: map.offset,
            path,
        })
    };
    let maps = process
        .maps()
        .map_or_else(|_| Vec::new(), |maps| maps.into_iter().filter_map(mapped).collect());
    (maps, process.exe().ok())
}

/// The functions at these places of a file: addresses in memory, and in the file.
fn functions<'data>(data: impl ReadRef<'data>, places: &[(usize, u64)]) -> Vec<(usize, String)> {
    let Ok(file) = object::File::parse(data) else {
        return Vec::new();
    };
    let segments: Vec<(u64, u64, u64)> = file
        .segments()
        .map(|segment| (segment.file_range().0, segment.file_range().1, segment.address()))
        .collect();
    let linked = |place: u64| {
        let segment = segments
            .iter()
            .find(|(from, size, _)| place >= *from && place - from < *size);
        segment.map(|(from, _, address)| place - from + address)
    };
    let mut wanted: Vec<(u64, usize)> = places
        .iter()
        .filter_map(|(address, place)| Some((linked(*place)?, *address)))
        .collect();
    wanted.sort_unstable();
    let mut found = HashMap::new();
    for symbol in file.symbols().chain(file.dynamic_symbols()) {
        if symbol.kind() != SymbolKind::Text || symbol.size() == 0 {
            continue;
        }
        let (first, end) = (symbol.address(), symbol.address().saturating_add(symbol.size()));
        let from = wanted.partition_point(|(address, _)| *address < first);
        for (_, address) in wanted.iter().skip(from).take_while(|(address, _)| *address < end) {
            if let (false, Ok(name)) = (found.contains_key(address), symbol.name()) {
                found.insert(*address, readable(name));
            }
        }
    }
    found.into_iter().collect()
}

/// Without the hash at the end.
fn readable(name: &str) -> String {
    format!("{:#}", rustc_demangle::demangle(name))
}

fn in_brackets(path: &Path) -> String {
    let name = path.file_name().unwrap_or(path.as_os_str());
    format!("[{}]", name.to_string_lossy())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_has_the_name_of_its_function_or_file() {
        let function = maps as fn() -> (Vec<Mapped>, Option<PathBuf>) as usize;
        let symbols = Symbols::of([function, function + 1, 1]);
        assert_eq!(symbols.name(function), "profile::symbols::maps");
        assert_eq!(symbols.name(function + 1), "profile::symbols::maps");
        assert_eq!(symbols.name(1), UNKNOWN);
        assert_eq!(in_brackets(Path::new("/lib/libthing.so.1")), "[libthing.so.1]");
    }

    #[test]
    fn names_are_readable() {
        assert_eq!(readable("_ZN4main3run17h0123456789abcdefE"), "main::run");
        assert_eq!(readable("rd_kafka_poll"), "rd_kafka_poll");
    }

    #[test]
    fn what_is_no_program_has_no_names() {
        assert!(functions(&b"no program"[..], &[(1, 1)]).is_empty());
    }
}
