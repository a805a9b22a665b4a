//! Draws folded stacks as a flame graph: one SVG file without scripts, fonts or other files. Pure.
//!
//! The root is at the bottom. The width of a box is the share of its stacks; resting the pointer on it shows the whole name and the
//! numbers. Colours depend on the names only, so two pictures can be compared: warm ones for Rust, grey for the rest.
//! Invariants: the picture is well-formed for any name. Boxes that are too narrow to be seen are left out, with what is above them.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use crate::stacks::{Stacks, percent};

const WIDTH: f64 = 1_200.0;
const ROW: usize = 17;
/// Space for the title.
const HEAD: usize = 48;
/// Space at the bottom and the sides.
const MARGIN: usize = 10;
/// Narrower boxes are left out.
const NARROWEST: f64 = 0.3;
/// Width of a letter of the labels.
const LETTER: f64 = 6.7;

/// What the picture says beside its boxes.
#[derive(Debug, Clone, Copy)]
pub struct Caption<'a> {
    /// The first line.
    pub title: &'a str,
    /// The second line.
    pub subtitle: &'a str,
}

/// A box, in the tree of all stacks.
struct Node<'a> {
    name: &'a str,
    weight: u64,
    children: BTreeMap<&'a str, usize>,
}

/// Where a box is.
struct Placed {
    node: usize,
    depth: usize,
    /// Weight of what is left of it.
    before: u64,
}

/// Draws the stacks. `shown` writes a weight with its unit.
pub fn svg(caption: Caption<'_>, stacks: &Stacks, shown: impl Fn(u64) -> String) -> String {
    let nodes = tree(stacks);
    let whole = stacks.weight();
    let placed = placed(&nodes, whole);
    let rows = placed.iter().map(|place| place.depth + 1).max().unwrap_or(0);
    let height = HEAD + rows * ROW + MARGIN;
    let mut svg = format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n\
         <svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{width}\" height=\"{height}\" viewBox=\"0 0 {width} {height}\" \
         font-family=\"monospace\" font-size=\"11\">\n\
         <rect width=\"100%\" height=\"100%\" fill=\"#fcfcfa\"/>\n\
         <text x=\"{MARGIN}\" y=\"20\" font-size=\"15\">{title}</text>\n\
         <text x=\"{MARGIN}\" y=\"37\" fill=\"#555\">{subtitle}</text>\n",
        width = WIDTH as usize + 2 * MARGIN,
        title = escaped(caption.title),
        subtitle = escaped(caption.subtitle),
    );
    for place in &placed {
        if let Some(node) = nodes.get(place.node) {
            let bottom = height - MARGIN - place.depth * ROW;
            draw(&mut svg, node, (place.before, whole), bottom - ROW, &shown);
        }
    }
    svg.push_str("</svg>\n");
    svg
}

/// The first node is the root of all stacks.
fn tree(stacks: &Stacks) -> Vec<Node<'_>> {
    let node = |name| Node {
        name,
        weight: 0,
        children: BTreeMap::new(),
    };
    let mut nodes = vec![node("all")];
    for stack in &stacks.stacks {
        let mut at = 0;
        add(&mut nodes, at, stack.weight);
        for name in stacks.frames(stack) {
            let next = nodes.len();
            let child = nodes
                .get_mut(at)
                .map_or(next, |parent| *parent.children.entry(name).or_insert(next));
            if child == next {
                nodes.push(node(name));
            }
            add(&mut nodes, child, stack.weight);
            at = child;
        }
    }
    nodes
}

fn add(nodes: &mut [Node<'_>], at: usize, weight: u64) {
    if let Some(node) = nodes.get_mut(at) {
        node.weight += weight;
    }
}

/// The boxes that are wide enough. Without recursion: a stack may be deeper than that of this thread.
fn placed(nodes: &[Node<'_>], whole: u64) -> Vec<Placed> {
    let root = Placed {
        node: 0,
        depth: 0,
        before: 0,
    };
    let mut waiting = vec![root];
    let mut placed = Vec::new();
    while let Some(place) = waiting.pop() {
        let Some(node) = nodes.get(place.node) else { continue };
        if node.weight == 0 || percent(node.weight, whole) / 100.0 * WIDTH < NARROWEST {
            continue;
        }
        let mut before = place.before;
        for child in node.children.values() {
            waiting.push(Placed {
                node: *child,
                depth: place.depth + 1,
                before,
            });
            before += nodes.get(*child).map_or(0, |child| child.weight);
        }
        placed.push(place);
    }
    placed
}

fn draw(svg: &mut String, node: &Node<'_>, (before, whole): (u64, u64), top: usize, shown: &impl Fn(u64) -> String) {
    let scaled = |weight: u64| percent(weight, whole) / 100.0 * WIDTH;
    let (left, width) = (MARGIN as f64 + scaled(before), scaled(node.weight));
    // Writing to a text does not fail.
    _ = write!(
        svg,
        "<g><title>{}: {:.1} %, {}</title><rect x=\"{left:.1}\" y=\"{top}\" width=\"{width:.1}\" height=\"{}\" rx=\"1\" fill=\"{}\"/>",
        escaped(node.name),
        percent(node.weight, whole),
        escaped(&shown(node.weight)),
        ROW - 1,
        colour(node.name)
    );
    let letters = ((width - 6.0) / LETTER).max(0.0) as usize;
    if letters >= 3 {
        let label = shortened(node.name, letters);
        _ = write!(
            svg,
            "<text x=\"{:.1}\" y=\"{}\">{}</text>",
            left + 3.0,
            top + ROW - 5,
            escaped(&label)
        );
    }
    svg.push_str("</g>\n");
}

/// At most this many letters: the end of a name says more than its beginning.
pub fn shortened(name: &str, letters: usize) -> String {
    let count = name.chars().count();
    if count <= letters {
        return name.to_owned();
    }
    let rest: String = name.chars().skip(count + 1 - letters.max(1)).collect();
    format!("…{rest}")
}

fn colour(name: &str) -> String {
    // FNV-1a, so that a name has its colour in every version of this program.
    let hash = name.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    });
    let (hue, light) = (hash % 50, 62 + hash / 64 % 12);
    if name.contains("::") {
        format!("hsl({hue},75%,{light}%)")
    } else {
        format!("hsl(210,12%,{}%)", light + 8)
    }
}

/// As text or attribute of XML.
fn escaped(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for letter in text.chars() {
        match letter {
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '&' => escaped.push_str("&amp;"),
            '"' => escaped.push_str("&quot;"),
            '\'' => escaped.push_str("&apos;"),
            // XML 1.0 does not allow them, not even escaped.
            letter if letter.is_control() || matches!(letter, '\u{fffe}' | '\u{ffff}') => escaped.push('\u{fffd}'),
            letter => escaped.push(letter),
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use quick_xml::Reader;
    use quick_xml::events::Event;

    use super::*;
    use crate::stacks::Folding;

    fn drawn(stacks: &[(Vec<&str>, u64)]) -> String {
        let mut folding = Folding::default();
        for (frames, weight) in stacks {
            folding.add(Some("worker"), frames.iter().copied(), *weight);
        }
        let caption = Caption {
            title: "a & b",
            subtitle: "<c>",
        };
        svg(caption, &folding.done(), |weight| format!("{weight} samples"))
    }

    /// The titles of all boxes; fails if the picture is not well-formed.
    fn titles(svg: &str) -> Vec<String> {
        let mut reader = Reader::from_str(svg);
        reader.config_mut().check_end_names = true;
        let (mut titles, mut is_title, mut depth) = (Vec::new(), false, 0);
        loop {
            match reader.read_event().unwrap() {
                Event::Eof => break,
                Event::Start(tag) => {
                    depth += 1;
                    is_title = tag.name().as_ref() == b"title";
                    if is_title {
                        titles.push(String::new());
                    }
                }
                Event::End(_) => {
                    depth -= 1;
                    is_title = false;
                }
                Event::Text(text) if is_title => titles.last_mut().unwrap().push_str(&text.decode().unwrap()),
                Event::GeneralRef(name) if is_title => {
                    let name = name.decode().unwrap();
                    let letter = match name.as_ref() {
                        "lt" => '<',
                        "gt" => '>',
                        "amp" => '&',
                        "quot" => '"',
                        "apos" => '\'',
                        other => panic!("{other}"),
                    };
                    titles.last_mut().unwrap().push(letter);
                }
                _ => {}
            }
        }
        assert_eq!(depth, 0);
        titles
    }

    #[test]
    fn every_box_has_its_name_share_and_weight() {
        let svg = drawn(&[(vec!["main", "a::read"], 3), (vec!["main", "b::write"], 1)]);
        let mut titles = titles(&svg);
        titles.sort_unstable();
        assert_eq!(
            titles,
            [
                "a::read: 75.0 %, 3 samples",
                "all: 100.0 %, 4 samples",
                "b::write: 25.0 %, 1 samples",
                "main: 100.0 %, 4 samples",
                "worker: 100.0 %, 4 samples",
            ]
        );
        assert!(svg.contains("x=\"10.0\" y=\"48\" width=\"900.0\""), "{svg}");
        assert!(svg.contains("x=\"910.0\" y=\"48\" width=\"300.0\""), "{svg}");
        assert_eq!(
            svg,
            drawn(&[(vec!["main", "b::write"], 1), (vec!["main", "a::read"], 3)])
        );
    }

    #[test]
    fn any_name_gives_a_well_formed_picture() {
        let odd = "<Vec<T, A> as Fold<&'a [u8; 4]>>::f\"{{closure}}\"";
        let titles = titles(&drawn(&[(vec![odd, "\u{1}\u{0}", "ü→𝄞", ""], 1)]));
        let named = |start: &str| titles.iter().any(|title| title.starts_with(start));
        assert!(named("<Vec<T, A> as Fold<&"), "{titles:?}");
        assert!(
            named("\u{fffd}\u{fffd}: ") && named("ü→𝄞: ") && named(": "),
            "{titles:?}"
        );
    }

    #[test]
    fn nothing_is_an_empty_picture() {
        assert!(titles(&drawn(&[])).is_empty());
    }

    #[test]
    fn a_deep_stack_is_drawn_and_narrow_boxes_are_left_out() {
        let names: Vec<String> = (0..20_000).map(|number| format!("f{number}")).collect();
        let deep: Vec<&str> = names.iter().map(String::as_str).collect();
        assert_eq!(titles(&drawn(&[(deep, 1)])).len(), 20_002);
        let svg = drawn(&[(vec!["wide"], 1_000_000), (vec!["narrow"], 1)]);
        assert!(svg.contains(">wide: ") && !svg.contains("narrow"), "{svg}");
    }

    #[test]
    fn the_end_of_a_long_name_is_kept() {
        assert_eq!(shortened("abc::def", 8), "abc::def");
        assert_eq!(shortened("abc::def", 5), "…:def");
        assert_eq!(shortened("ääää", 3), "…ää");
        assert_eq!(shortened("abc", 0), "…");
    }
}
