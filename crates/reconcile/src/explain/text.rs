//! Traces as text, with lines of at most [`WIDTH`] characters unless a name is longer. Pure but for the options of
//! commands in notes.

use super::bar::{BarTrace, Cause, Counted, TracedTick, Way};
use super::follow::{Fate, Followed};
use super::logs::{LetterRow, RawRecord};
use super::numbers::Compared;
use super::row::{PriceTrace, RowTrace, TickAndBars};
use super::{BarRow, Place, TickRow};
use ops::hints::localized;
use ops::present::{table, wrapped};

/// Characters in a line.
pub const WIDTH: usize = 100;

/// The text of a bar's trace.
pub fn bar(trace: &BarTrace) -> String {
    let mut out = Lines::default();
    out.line(
        0,
        &format!(
            "Bar {} of {}, tenant {}",
            trace.interval, trace.instrument_id, trace.tenant_id
        ),
    );
    out.line(0, &format!("from {} to {}", trace.window_start, trace.window_end));
    out.title("Versions in table bars, newest first");
    trace.versions.iter().for_each(|version| out.version(version));
    out.title("Numbers of the newest version: as stored, and recomputed from its ticks");
    out.numbers("stored", &trace.numbers);
    out.way(trace);
    let count = |of: Counted| trace.ticks.iter().filter(|tick| tick.counted == of).count();
    out.title(&format!(
        "Ticks of the window, by event time: {} counted, {} replaced",
        count(Counted::Yes),
        count(Counted::Replaced)
    ));
    for (number, tick) in (1..).zip(trace.ticks.iter().take(trace.shown)) {
        out.traced(number, tick);
    }
    out.title("Raw messages");
    trace.raw.iter().for_each(|raw| out.raw(raw));
    out.notes(&trace.notes);
    out.text
}

/// The text of a served price's trace.
pub fn price(trace: &PriceTrace) -> String {
    let mut out = Lines::default();
    out.line(
        0,
        &format!("Latest price of {}, tenant {}", trace.instrument_id, trace.tenant_id),
    );
    let rows = trace.quotes.iter().map(|quote| {
        let words = quote
            .price
            .as_ref()
            .map(|price| [price.price.clone(), price.event_time.to_string(), price.tick_id.clone()]);
        let without = if quote.is_unread { "not read" } else { "none" };
        let [price, time, tick] = words.unwrap_or_else(|| [without, "", ""].map(str::to_owned));
        vec![quote.source.to_owned(), price, time, tick]
    });
    out.block(&table(&["store", "price", "event time", "tick"], 4, rows));
    for quote in &trace.quotes {
        if let Some(note) = &quote.note {
            out.line(0, &format!("{}: {note}", quote.source));
        }
    }
    out.line(0, &verdict(trace));
    for words in &trace.disagreements {
        out.line(0, &format!("DIFFERS: {words}"));
    }
    if trace.ahead_of_the_clock {
        out.line(
            0,
            "NOTE: its event time is in the future. This is normal for a day-ahead price. For any other product the timestamp is \
             wrong: until that time, current ticks count as late and do not replace the price.",
        );
    }
    if let Some(tick) = &trace.tick {
        out.title("The tick");
        out.tick(tick);
    }
    if let Some(raw) = &trace.raw {
        out.title("Its raw message");
        out.raw(raw);
    }
    out.text
}

/// What is known of all stores together. A store that was not read may have another price.
fn verdict(trace: &PriceTrace) -> String {
    let agree = trace.disagreements.is_empty();
    match (trace.unread(), agree) {
        (0, true) => "All stores that have a price agree.".to_owned(),
        (0, false) => "The stores do not agree.".to_owned(),
        (unread, _) => format!(
            "{unread} of {} sources could not be read; those that answered {}.",
            trace.quotes.len(),
            if agree { "agree" } else { "do not agree" }
        ),
    }
}

/// The text of a raw message's trace.
pub fn row(trace: &RowTrace) -> String {
    let mut out = Lines::default();
    out.line(0, "Raw message");
    out.raw(&trace.raw);
    if let Some(original) = &trace.original {
        out.title("The message that was emitted for the same event");
        out.raw(original);
    }
    let late = trace.ticks.iter().filter(|tick| tick.tick.late.is_some()).count();
    out.title(&format!(
        "Rows in the tables: {}, {late} of them late for at least one bar",
        many(trace.ticks.len() as i64, "tick")
    ));
    trace.ticks.iter().for_each(|tick| out.tick_and_bars(tick));
    if trace.ticks.is_empty() {
        out.line(2, "none");
    }
    out.title(&format!("Dead letters: {}", trace.dead_letters.len()));
    trace.dead_letters.iter().for_each(|letter| out.letter(letter));
    for row in &trace.table_rows {
        out.title("The row with every column");
        for (name, value) in row {
            let value = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
            out.line(2, &format!("{name:<30} {value}"));
        }
    }
    out.notes(&trace.notes);
    out.text
}

/// Text that grows by lines.
#[derive(Default)]
pub(super) struct Lines {
    pub(super) text: String,
}

impl Lines {
    pub(super) fn line(&mut self, indent: usize, words: &str) {
        let room = WIDTH.saturating_sub(indent);
        for (number, part) in wrapped(words, room.saturating_sub(2)).iter().enumerate() {
            let indent = if number == 0 { indent } else { indent + 2 };
            self.block(&format!("{}{part}", " ".repeat(indent)));
        }
    }

    pub(super) fn block(&mut self, text: &str) {
        if !self.text.is_empty() {
            self.text.push('\n');
        }
        self.text.push_str(text);
    }

    pub(super) fn title(&mut self, words: &str) {
        self.block("");
        self.line(0, words);
    }

    pub(super) fn notes(&mut self, notes: &[String]) {
        for note in notes {
            self.block("");
            self.line(0, &format!("note: {}", localized(note)));
        }
    }

    /// Numbers as they are stored in `place`, beside those that were recomputed.
    pub(super) fn numbers(&mut self, place: &str, numbers: &[Compared]) {
        let rows = numbers.iter().map(|number| match number.agrees {
            true => vec![number.name.to_owned(), number.stored.clone(), "same".to_owned()],
            false => vec![
                number.name.to_owned(),
                number.stored.clone(),
                format!("DIFFERS: {}", number.recomputed),
            ],
        });
        self.block(&table(&["number", place, "recomputed"], 3, rows));
    }

    fn version(&mut self, bar: &BarRow) {
        let state = if bar.closed { "closed" } else { "open" };
        let revised = match bar.revision {
            0 => String::new(),
            ticks => format!(", revised by {} after its close", many(i64::from(ticks), "tick")),
        };
        let cause = bar.cause.as_ref();
        let cause = cause.map_or_else(String::new, |cause| format!("; last tick: {cause}"));
        let numbers = &bar.numbers;
        self.line(
            2,
            &format!(
                "version {} ({state}{revised}{cause}), {}",
                bar.version,
                many(numbers.trade_count, "tick")
            ),
        );
        self.line(
            4,
            &format!(
                "open {} high {} low {} close {}",
                numbers.open, numbers.high, numbers.low, numbers.close
            ),
        );
        self.line(
            4,
            &format!(
                "last tick at enriched offset {}; bars topic {}; ingested {}",
                bar.last_enriched_offset, bar.place, bar.ingested_at
            ),
        );
    }

    fn way(&mut self, trace: &BarTrace) {
        self.title(match trace.way {
            Way::Stream => "Computed by the stream from the ticks as they arrived",
            Way::Table => "Recomputed from the rows of enriched_ticks because of these ticks",
        });
        for detour in trace.because.iter().take(trace.shown) {
            let cause = match detour.cause {
                Cause::Late => "arrived after the stream had forgotten the window",
                Cause::SameIntervalAgain => "is another price of an interval that already had one",
                Cause::WindowFromTheTable => "arrived after an earlier one of these ticks",
            };
            self.line(
                2,
                &format!("{} {cause}; the log clock was {}", detour.tick_id, detour.clock),
            );
            self.line(4, &format!("→ {} → {}", detour.enriched, detour.late));
        }
        if trace.because.len() > trace.shown {
            self.line(2, &format!("… and {} more", trace.because.len() - trace.shown));
        }
    }

    fn traced(&mut self, number: usize, traced: &TracedTick) {
        let tick = &traced.tick;
        let volume = tick.volume.as_deref().unwrap_or("none");
        self.line(
            2,
            &format!("{number}. {}  price {}  volume {volume}", tick.event_time, tick.price),
        );
        let mut words = match traced.counted {
            Counted::Yes => "counted".to_owned(),
            Counted::Replaced => "NOT counted: a later price of the same interval has replaced it".to_owned(),
            Counted::AfterThisVersion => {
                "NOT in this version: it was read after the version's last tick; run the command again shortly"
                    .to_owned()
            }
            Counted::NotEnriched => "NOT counted: enriched_ticks does not have its row (yet)".to_owned(),
        };
        if !traced.gives.is_empty() {
            words.push_str(&format!("; gives the bar's {}", traced.gives.join(", ")));
        }
        if matches!(traced.counted, Counted::Yes | Counted::Replaced) {
            words.push_str(match (traced.without_effect, traced.after_close) {
                (true, _) => "; the price that counted until then stays: no revision",
                (false, true) => "; arrived after the window had closed: a REVISION",
                (false, false) => "",
            });
        }
        self.line(5, &words);
        self.places(5, tick);
    }

    pub(super) fn places(&mut self, indent: usize, tick: &TickRow) {
        let place = |place: &Option<Place>| place.as_ref().map_or_else(|| "(no row)".to_owned(), Place::to_string);
        let event = tick.event_id.as_deref().unwrap_or("(no row)");
        self.line(indent, &format!("raw {}, event {event}", tick.tick_id));
        self.line(indent, &format!("→ {}", place(&tick.normalized)));
        self.line(indent, &format!("→ {}", place(&tick.enriched)));
        if let Some(late) = &tick.late {
            self.line(
                indent,
                &format!("→ {} (late for {})", late.place, late.intervals.join(", ")),
            );
        }
    }

    fn tick(&mut self, tick: &TickRow) {
        let volume = tick.volume.as_deref().unwrap_or("none");
        self.line(
            2,
            &format!("#{} {} (tenant {})", tick.index, tick.instrument_id, tick.tenant_id),
        );
        self.line(
            4,
            &format!("{}  price {}  volume {volume}", tick.event_time, tick.price),
        );
        self.places(4, tick);
    }

    fn tick_and_bars(&mut self, tick: &TickAndBars) {
        self.tick(&tick.tick);
        for bar in &tick.bars {
            let state = if bar.closed { "closed" } else { "open" };
            self.line(
                4,
                &format!(
                    "counts in bar {} of {} ({state}, version {}, revision {}) → {}",
                    bar.interval, bar.window_start, bar.version, bar.revision, bar.place
                ),
            );
        }
    }

    fn letter(&mut self, letter: &LetterRow) {
        self.line(
            2,
            &format!("{} at stage {}: code {}", letter.place, letter.stage, letter.code),
        );
        if !letter.rows.is_empty() {
            self.line(4, &format!("rows {}", letter.rows));
        }
        self.line(4, &letter.message);
    }

    pub(super) fn raw(&mut self, raw: &RawRecord) {
        let Some(kept) = &raw.kept else {
            return self.line(
                2,
                &format!(
                    "{}: EXPIRED, retention has removed it (the oldest offset is {}); only the tables still have its ticks",
                    raw.place, raw.oldest
                ),
            );
        };
        let key = kept
            .key
            .as_ref()
            .map_or_else(|| "none".to_owned(), |key| key.bytes.clone());
        let size = kept.content.size;
        self.line(
            2,
            &format!("{}: appended {}, {size} bytes, key {key}", raw.place, kept.appended_at),
        );
        for (name, value) in &kept.headers {
            self.line(4, &format!("header {name}: {value}"));
        }
        if let Some(decided) = &kept.decided {
            self.decided(decided, kept.is_searched);
        }
        for line in kept.content.lines(WIDTH - 6) {
            self.block(&format!("    | {line}"));
        }
        if kept.content.is_cut {
            self.line(4, "… cut: use --bytes to show the whole message");
        }
    }

    fn decided(&mut self, decided: &Followed, is_searched: bool) {
        let words = match &decided.fate {
            Fate::Emitted { rejected_rows, .. } => {
                let emitted = many(decided.ticks.len() as i64, "tick");
                match *rejected_rows {
                    0 => format!("emitted {emitted}"),
                    rows => format!("emitted {emitted}, rejected {}", many(rows as i64, "row")),
                }
            }
            Fate::Repetition { of_offset: Some(of) } => {
                format!("DROPPED: it repeats the event of offset {of} in its partition and has no rows")
            }
            Fate::Repetition { of_offset: None } => "DROPPED: it repeats an earlier event and has no rows".to_owned(),
            Fate::Refused { code, message } => format!("DEAD-LETTERED ({code}): {message}"),
        };
        self.line(4, &words);
        for repetition in &decided.repeated_by {
            self.line(
                4,
                &format!(
                    "repeated at offset {} ({}): dropped as the same event, has no rows",
                    repetition.offset, repetition.appended_at
                ),
            );
        }
        if !is_searched {
            self.line(
                4,
                "(not searched for repetitions: too many messages around it; `dp explain row` searches them)",
            );
        }
    }
}

/// `1 tick`, `2 ticks`.
fn many(number: i64, noun: &str) -> String {
    match number {
        1 => format!("1 {noun}"),
        _ => format!("{number} {noun}s"),
    }
}

#[cfg(test)]
mod tests {
    use super::super::At;
    use super::super::bar::tests::traced;
    use super::super::content::Content;
    use super::super::follow::Repetition;
    use super::super::logs::Kept;
    use super::super::served::{Price, Quote};
    use super::*;

    fn raw(kept: Option<Kept>) -> RawRecord {
        RawRecord {
            place: Place {
                topic: "ingestion.market.raw.v1".to_owned(),
                partition: 2,
                offset: 17,
            },
            oldest: 40,
            kept,
        }
    }

    #[test]
    fn the_text_of_a_bar_shows_which_ticks_count_and_why_within_the_width() {
        let (bar_row, parts) = traced();
        let kept = Kept {
            appended_at: At(1),
            key: Some(Content::new(b"X", 10)),
            headers: vec![("dp.format".to_owned(), "miso-lmp".to_owned())],
            content: Content::new(&[b'x'; 400], 1_000),
            decided: Some(Followed {
                fate: Fate::Emitted {
                    rejected_rows: 0,
                    rejected: Vec::new(),
                },
                ticks: Vec::new(),
                repeated_by: vec![Repetition {
                    offset: 19,
                    appended_at: At(2),
                }],
            }),
            is_searched: true,
        };
        let trace = BarTrace {
            tenant_id: "t".to_owned(),
            instrument_id: "i".to_owned(),
            interval: "1m".to_owned(),
            window_start: At(0),
            window_end: At(60_000_000),
            versions: vec![bar_row],
            way: parts.way(),
            because: parts.because,
            numbers: parts.numbers,
            agrees: true,
            ticks: parts.ticks,
            shown: 20,
            raw: vec![raw(Some(kept)), raw(None)],
            notes: vec!["n".repeat(30)],
        };
        let text = bar(&trace);
        for part in [
            "(closed, revised by 2 ticks after its close; last tick: late), 3 ticks",
            "3 counted, 0 replaced",
            "arrived after the window had closed: a REVISION",
            "Recomputed from the rows of enriched_ticks",
            "raw/0/4/0 arrived after the stream had forgotten the window",
            "→ enriched/0/104 → late/0/0",
            "NOT in this version",
            "repeated at offset 19",
            "EXPIRED, retention has removed it",
            "header dp.format: miso-lmp",
            "→ enriched/0/101",
        ] {
            assert!(text.contains(part), "{part}\n{text}");
        }
        let longest = text.lines().map(|line| line.chars().count()).max();
        assert!(longest <= Some(WIDTH), "{text}");
        let mut wrong = trace;
        wrong
            .numbers
            .iter_mut()
            .take(1)
            .for_each(|number| number.agrees = false);
        assert!(bar(&wrong).contains("DIFFERS"));
    }

    #[test]
    fn a_store_that_was_not_read_is_no_store_without_a_price() {
        let price = Price {
            price: "8.125".to_owned(),
            volume: None,
            event_time: At(0),
            tick_id: "raw/0/1/0".to_owned(),
        };
        let stopped = || Err(anyhow::anyhow!("ask Postgres: connection refused"));
        let mut trace = PriceTrace {
            tenant_id: "t".to_owned(),
            instrument_id: "i".to_owned(),
            quotes: vec![
                Quote::of("ClickHouse", Ok(Some(price)), "no tick"),
                Quote::of("Postgres", stopped(), "no row"),
                Quote::of("Redis", Ok(None), "no key"),
            ],
            disagreements: Vec::new(),
            ahead_of_the_clock: false,
            tick: None,
            raw: None,
        };
        let text = super::price(&trace);
        for part in [
            "not read",
            "none",
            "Postgres: ask Postgres: connection refused",
            "1 of 3 sources could not be read; those that answered agree.",
        ] {
            assert!(text.contains(part), "{part}\n{text}");
        }
        assert!(!trace.agrees());
        trace.quotes.remove(1);
        assert!(trace.agrees());
        assert!(super::price(&trace).contains("All stores that have a price agree."));
    }

    #[test]
    fn words_are_wrapped_between_words() {
        assert_eq!(wrapped("aa bb cc", 5), ["aa bb", "cc"]);
        assert_eq!(wrapped("aaaaaaaa b", 5), ["aaaaaaaa", "b"]);
    }
}
