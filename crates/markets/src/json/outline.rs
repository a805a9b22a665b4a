//! The outline of an object: its text around the values of its fields.
//!
//! Role: the objects of a page nearly always have the same fields in the same order. So an object is compared with the outline of an
//! earlier one, and only its values are read. Objects inside of it may belong to the outline; their values are read then.
//! Invariant: the values of an object that has the outline are those that the whole reader finds; any other object is left to that
//! reader.
//! Failure: none; what is wrong with an object is told by the whole reader.

use super::{Key, Object, Read, Reader, Token};

/// The outline of one object.
#[derive(Debug, Default)]
pub(crate) struct Outline<'a> {
    /// The text before each value: brackets, names, commas, colons and white space.
    before: Vec<&'a str>,
    /// The text after the last value.
    after: &'a str,
    /// Objects that did not have the outline.
    misses: u32,
}

impl<'a> Outline<'a> {
    /// Reads the object at which the reader is, if it has this outline. `visit` receives the number of each value and the value,
    /// and may give up. Otherwise the reader stays where it is.
    #[inline(always)]
    pub(crate) fn read(&self, reader: &mut Reader<'a>, mut visit: impl FnMut(usize, Token<'a>) -> bool) -> bool {
        let mut ahead = *reader;
        for (number, text) in self.before.iter().enumerate() {
            if !ahead.passes(text) {
                return false;
            }
            match ahead.value() {
                Ok(value) if visit(number, value) => {}
                _ => return false,
            }
        }
        // No object of interest is empty.
        let has_outline = !self.before.is_empty() && ahead.passes(self.after);
        if has_outline {
            *reader = ahead;
        }
        has_outline
    }

    /// Takes the outline of the object at which the reader is, after it has been read without it; returns whether it did so. The more
    /// objects are without it, the rarer that is, so that a page of mixed objects costs little more than without outlines.
    pub(crate) fn learn(&mut self, reader: Reader<'a>) -> bool {
        self.learn_inside(reader, |_| false, |_| ())
    }

    /// The same. An object inside belongs to the outline if `is_inside` says so of its name; `visit` receives the name of each value.
    /// A later object may hold an object where this one has a value. The caller of [`Outline::read`] must refuse such a value.
    pub(crate) fn learn_inside(
        &mut self,
        mut reader: Reader<'a>,
        is_inside: impl Fn(&Key<'_>) -> bool,
        visit: impl FnMut(&Key<'_>),
    ) -> bool {
        self.misses = self.misses.saturating_add(1);
        if !self.misses.is_power_of_two() || !reader.is_at_object() {
            return false;
        }
        self.before.clear();
        let (read, start) = {
            let mut learner = Learner {
                before: &mut self.before,
                start: reader.rest,
                is_inside,
                visit,
            };
            (reader.object(&mut learner), learner.start)
        };
        if read.is_err() {
            self.before.clear();
        }
        self.after = reader.since(start);
        true
    }
}

/// Takes the text before each value of an object.
struct Learner<'o, 'a, I, V> {
    before: &'o mut Vec<&'a str>,
    /// Behind the last value.
    start: &'a [u8],
    is_inside: I,
    visit: V,
}

impl<'a, I: Fn(&Key<'_>) -> bool, V: FnMut(&Key<'_>)> Object<'a> for Learner<'_, 'a, I, V> {
    fn field(&mut self, reader: &mut Reader<'a>, key: Key<'_>) -> Read<()> {
        if (self.is_inside)(&key) && reader.is_at_object() {
            return reader.object(self);
        }
        let value = reader.value()?;
        let quotes = if value.is_text() { 2 } else { 0 };
        let end = self.start.len() - reader.rest.len();
        let length = end.saturating_sub(value.raw.len() + quotes);
        self.before.push(reader.text(self.start, length).unwrap_or_default());
        self.start = reader.rest;
        (self.visit)(&key);
        Ok(())
    }
}

impl Reader<'_> {
    // Reads this text if it is next; returns whether it was.
    #[inline(always)]
    fn passes(&mut self, text: &str) -> bool {
        match self.rest.strip_prefix(text.as_bytes()) {
            Some(rest) => {
                self.rest = rest;
                true
            }
            None => false,
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::json::Kind;

    /// The raw values of the object at the reader, and the unread rest.
    fn read_whole<'a>(text: &'a str) -> Option<(Vec<Token<'a>>, &'a [u8])> {
        let (mut reader, mut values) = (Reader::new(text), Vec::new());
        let read = reader.object(&mut |reader: &mut Reader<'a>, _: Key<'_>| {
            values.push(reader.value()?);
            Ok(())
        });
        read.ok().map(|()| (values, reader.rest))
    }

    /// The same, with the values of the objects that are called "in".
    fn read_inside<'a>(reader: &mut Reader<'a>, values: &mut Vec<Token<'a>>) -> Read<()> {
        reader.object(&mut |reader: &mut Reader<'a>, key: Key<'_>| {
            if key.is("in") && reader.is_at_object() {
                return read_inside(reader, values);
            }
            values.push(reader.value()?);
            Ok(())
        })
    }

    fn value() -> impl Strategy<Value = String> {
        prop_oneof![
            "\"[a-z é\\\\\"]{0,12}\"",
            "-?[0-9]{1,9}(\\.[0-9]{0,4})?([eE]-?[0-9])?",
            "(true|false|null|nul|tru)",
            "\\[1, ?\\{\\}\\]",
            " ?\"\\\\u00e9\" ?",
        ]
    }

    fn object() -> impl Strategy<Value = String> {
        // Few names and spaces, so that objects often have the outline of the one before.
        let field = ("(a|a|b|long_name_of_a_field)", "( ?|\t)", value());
        let fields = prop::collection::vec(field, 0..4);
        (fields, "(\\}|\\}|\\}|,\\}|\\]|)").prop_map(|(fields, end)| {
            let fields: Vec<String> = fields
                .iter()
                .map(|(name, space, value)| format!("\"{name}\":{space}{value}"))
                .collect();
            format!("{{{}{end}", fields.join(","))
        })
    }

    // Objects inside, also under a name whose objects do not belong to the outline, and values under the name of those that do.
    fn nested() -> impl Strategy<Value = String> {
        let field = ("(a|b|in|in)", prop_oneof![2 => value(), 1 => object()]);
        prop::collection::vec(field, 1..4).prop_map(|fields| {
            let fields: Vec<String> = fields
                .iter()
                .map(|(name, value)| format!("\"{name}\":{value}"))
                .collect();
            format!("{{{}}}", fields.join(","))
        })
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(1_000))]

        #[test]
        fn an_object_with_the_outline_of_inner_objects_has_the_values_that_the_whole_reader_finds(
            texts in prop::collection::vec(prop_oneof![
                nested(),
                // Nearly all are like this.
                (value(), value()).prop_map(|(one, two)| format!("{{\"a\":{one},\"in\":{{\"b\":{two}}}}}")),
                (value(), value()).prop_map(|(one, two)| format!("{{\"a\":{one},\"in\":{{\"b\":{two}}}}}")),
            ], 1..12),
        ) {
            let mut outline = Outline::default();
            for text in &texts {
                let (mut reader, mut values) = (Reader::new(text), Vec::new());
                let has_outline = outline.read(&mut reader, |_, value| {
                    values.push(value);
                    !matches!(value.kind, Kind::Object | Kind::Array)
                });
                let (mut whole, mut found) = (Reader::new(text), Vec::new());
                let read = read_inside(&mut whole, &mut found);
                if has_outline {
                    prop_assert!(read.is_ok(), "{}", text);
                    prop_assert_eq!((values, reader.rest), (found, whole.rest), "{}", text);
                } else {
                    prop_assert_eq!(reader.rest, text.as_bytes());
                    let mut named = 0;
                    let learned = outline.learn_inside(Reader::new(text), |key| key.is("in"), |_| named += 1);
                    prop_assert!(!learned || named == found.len(), "{}", text);
                }
            }
        }
    }

    proptest! {
        #[test]
        fn an_object_with_the_outline_has_the_values_that_the_whole_reader_finds(
            objects in prop::collection::vec((object(), "(,1|\\]| |)"), 1..12),
        ) {
            let texts: Vec<String> = objects.iter().map(|(object, rest)| format!("{object}{rest}")).collect();
            let mut outline = Outline::default();
            for text in &texts {
                let (mut reader, mut values) = (Reader::new(text), Vec::new());
                let has_outline = outline.read(&mut reader, |number, value| {
                    assert_eq!(number, values.len());
                    values.push(value);
                    true
                });
                if has_outline {
                    prop_assert_eq!(Some((values, reader.rest)), read_whole(text), "{}", text);
                } else {
                    prop_assert_eq!(reader.rest, text.as_bytes());
                    outline.learn(Reader::new(text));
                }
            }
        }

        // Objects of one outline, whatever their values are.
        #[test]
        fn an_object_that_differs_in_its_values_only_has_the_outline(
            first in value(), second in value(), third in "[ \t]{0,2}", fourth in value(),
        ) {
            let text = |one: &str, two: &str| format!("{{\"a\":{third}{one} ,\n\"name of a field\": {two}}}");
            let [first, second, fourth] = [first.trim(), second.trim(), fourth.trim()];
            let (one, other) = (text(first, second), text(fourth, first));
            prop_assume!(read_whole(&one).is_some() && read_whole(&other).is_some());
            let mut outline = Outline::default();
            prop_assert!(outline.learn(Reader::new(&one)));
            for text in [&one, &other] {
                prop_assert!(outline.read(&mut Reader::new(text), |_, _| true), "{}", text);
            }
            prop_assert!(!outline.read(&mut Reader::new(&one), |number, _| number == 0));
        }
    }

    #[test]
    fn an_outline_is_taken_again_ever_more_rarely() {
        let mut outline = Outline::default();
        let taken: Vec<usize> = (1..=20).filter(|_| outline.learn(Reader::new("{\"a\":1}"))).collect();
        assert_eq!(taken, [1, 2, 4, 8, 16]);
    }
}
