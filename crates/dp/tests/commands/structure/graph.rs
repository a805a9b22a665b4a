//! Which file of a crate imports which, and the circles among them.

use std::collections::btree_map::{BTreeMap, Entry};
use std::collections::{BTreeSet, VecDeque};

use super::source::{Import, Source};

/// For each file, the files that it imports, each with a path that leads there.
pub type Edges = BTreeMap<String, BTreeMap<String, String>>;

/// The names of a module and of those that hold it; none for the root of the crate.
type Module = Vec<String>;
/// The names that are being followed, so that re-exports that lead to each other come to an end.
type Followed = Vec<(Module, String, bool)>;

struct File {
    name: String,
    source: Source,
}

/// The files of a crate by their modules.
pub struct Tree {
    files: BTreeMap<Module, File>,
}

/// Where a path leads.
enum Place {
    Module(Module),
    /// An item that is defined in the file of this module.
    Item(Module),
}

impl Tree {
    /// Follows the modules from `lib.rs` on. `read` gives the text of a file, if there is one of this name.
    pub fn read(read: impl Fn(&str) -> Option<String>) -> Tree {
        let mut files = BTreeMap::new();
        let mut open: Vec<Module> = vec![Vec::new()];
        while let Some(module) = open.pop() {
            let found = file_names(&module)
                .into_iter()
                .find_map(|name| read(&name).map(|text| (name, text)));
            let Some((name, text)) = found else {
                panic!("no file has the module {module:?}");
            };
            let source = Source::read(&text);
            open.extend(source.modules.iter().map(|child| child_of(&module, child)));
            files.insert(module, File { name, source });
        }
        Tree { files }
    }

    pub fn edges(&self) -> Edges {
        let files = self.files.iter();
        files
            .map(|(module, file)| (file.name.clone(), self.edges_of(module, &file.source)))
            .collect()
    }

    fn edges_of(&self, module: &[String], source: &Source) -> BTreeMap<String, String> {
        let is_glob = |import: &&Import| import.name == "*";
        let has_glob = source.imports.iter().any(|import| import.name == "*");
        let exported: BTreeSet<&str> = source
            .imports
            .iter()
            .filter(|import| import.is_public)
            .map(|import| import.name.as_str())
            .collect();
        // A re-export is no edge, but each use of its name is.
        let imported = source
            .imports
            .iter()
            .filter(|import| is_glob(import) || !import.is_public)
            .map(|import| (&import.path, !is_glob(&import)));
        let counts = |path: &&Vec<String>| {
            let is_alone = path.len() == 1;
            !is_alone || has_glob || path.iter().any(|name| exported.contains(name.as_str()))
        };
        let used = source.paths.iter().filter(counts).map(|path| (path, true));
        let mut edges = BTreeMap::new();
        for (path, is_end) in imported.chain(used) {
            let Some(Place::Item(other)) = self.resolve(module, path, is_end, &mut Vec::new()) else {
                continue;
            };
            if let Some(file) = self.files.get(&other).filter(|_| other != module) {
                edges.entry(file.name.clone()).or_insert_with(|| path.join("::"));
            }
        }
        edges
    }

    /// Where a path leads that stands in this module. Module and item can have the same name: at the end of a path (`is_end`) the item is
    /// meant.
    fn resolve(&self, module: &[String], path: &[String], is_end: bool, followed: &mut Followed) -> Option<Place> {
        let mut place = Place::Module(module.to_vec());
        for (index, name) in path.iter().enumerate() {
            // What follows an item is a part of it.
            let Place::Module(inside) = &place else { break };
            place = match name.as_str() {
                "self" => continue,
                "crate" => Place::Module(Vec::new()),
                "super" => Place::Module(inside.split_last()?.1.to_vec()),
                _ => self.look_up(inside, name, is_end && index + 1 == path.len(), followed)?,
            };
        }
        Some(place)
    }

    fn look_up(&self, module: &[String], name: &str, is_end: bool, followed: &mut Followed) -> Option<Place> {
        let key = (module.to_vec(), name.to_owned(), is_end);
        if followed.contains(&key) {
            return None;
        }
        followed.push(key);
        let place = self.follow(module, name, is_end, followed);
        followed.pop();
        place
    }

    fn follow(&self, module: &[String], name: &str, is_end: bool, followed: &mut Followed) -> Option<Place> {
        let source = &self.files.get(module)?.source;
        let is_child = source.modules.contains(name);
        if is_child && !is_end {
            return Some(Place::Module(child_of(module, name)));
        }
        if source.items.contains(name) {
            return Some(Place::Item(module.to_vec()));
        }
        let mut named = source.imports.iter().filter(|import| import.name == name);
        let imported = named.find_map(|import| self.resolve(module, &import.path, is_end, followed));
        if imported.is_some() {
            return imported;
        }
        if is_child {
            return Some(Place::Module(child_of(module, name)));
        }
        let mut globs = source.imports.iter().filter(|import| import.name == "*");
        globs.find_map(|import| match self.resolve(module, &import.path, false, followed)? {
            Place::Module(other) => self.look_up(&other, name, is_end, followed),
            Place::Item(_) => None,
        })
    }
}

fn child_of(module: &[String], name: &str) -> Module {
    module.iter().cloned().chain([name.to_owned()]).collect()
}

/// The names that the file of a module can have.
fn file_names(module: &[String]) -> Vec<String> {
    match module.join("/") {
        root if root.is_empty() => vec!["lib.rs".to_owned()],
        path => vec![format!("{path}.rs"), format!("{path}/mod.rs")],
    }
}

/// The shortest circle through each file that is in one, as `a.rs -> b.rs -> a.rs` with the paths that make it.
pub fn circles(edges: &Edges) -> BTreeSet<String> {
    let found = edges.keys().filter_map(|file| circle(edges, file));
    found.map(|files| in_words(edges, files)).collect()
}

fn circle<'e>(edges: &'e Edges, start: &'e str) -> Option<Vec<&'e str>> {
    let mut came_from: BTreeMap<&str, &str> = BTreeMap::new();
    let mut open = VecDeque::from([start]);
    while let Some(file) = open.pop_front() {
        for next in edges.get(file).into_iter().flat_map(BTreeMap::keys) {
            if next == start {
                let back = std::iter::successors(Some(file), |file| came_from.get(file).copied());
                let mut files: Vec<&str> = back.collect();
                files.reverse();
                return Some(files);
            }
            if let Entry::Vacant(free) = came_from.entry(next.as_str()) {
                free.insert(file);
                open.push_back(next);
            }
        }
    }
    None
}

fn in_words(edges: &Edges, mut files: Vec<&str>) -> String {
    // The same circle has the same words, wherever it was entered.
    let least = files.iter().min().copied();
    let first = files.iter().position(|file| Some(*file) == least);
    files.rotate_left(first.unwrap_or(0));
    let nexts = files.iter().cycle().skip(1);
    let paths = files
        .iter()
        .zip(nexts)
        .filter_map(|(file, next)| edges.get(*file)?.get(*next));
    let paths: Vec<&str> = paths.map(String::as_str).collect();
    let around: Vec<&str> = files.iter().copied().chain(least).collect();
    format!("{} ({})", around.join(" -> "), paths.join(", "))
}
