//! A line of prices in the terminal, in dots of Braille: 2 by 4 in each character. It uses no colour, so NO_COLOR has nothing to turn off.

/// Characters of the drawing, without the axis: with it a line has at most 80.
const WIDTH: usize = 64;
const HEIGHT: usize = 8;
/// Bits of the dots of a Braille pattern (Unicode, U+2800), by column and row.
const DOTS: [[u32; 4]; 2] = [[0x01, 0x02, 0x04, 0x40], [0x08, 0x10, 0x20, 0x80]];
const AXIS: usize = 11;

/// The chart of at least two prices, with the names of the first and the last.
pub(super) fn drawn(prices: &[f64], (first, last): (&str, &str)) -> Option<String> {
    if prices.len() < 2 || prices.iter().any(|price| !price.is_finite()) {
        return None;
    }
    let high = prices.iter().copied().fold(f64::MIN, f64::max);
    let low = prices.iter().copied().fold(f64::MAX, f64::min);
    let mut dots = vec![[0u32; WIDTH]; HEIGHT];
    let (columns, rows) = (WIDTH * 2, HEIGHT * 4);
    let mut before = None;
    for column in 0..columns {
        let row = row_of(at(prices, column as f64 / (columns - 1) as f64), (low, high), rows);
        // Steep parts are filled, so that the line has no holes.
        let from: usize = before.unwrap_or(row);
        for row in from.min(row)..=from.max(row) {
            if let Some(cell) = dots.get_mut(row / 4).and_then(|line| line.get_mut(column / 2)) {
                *cell |= DOTS.get(column % 2).and_then(|dots| dots.get(row % 4)).unwrap_or(&0);
            }
        }
        before = Some(row);
    }
    let mut lines = Vec::with_capacity(HEIGHT + 1);
    for (number, line) in dots.iter().enumerate() {
        let label = match number {
            0 => format!("{high:.2}"),
            _ if number + 1 == HEIGHT => format!("{low:.2}"),
            _ => String::new(),
        };
        let drawn: String = line.iter().filter_map(|dots| char::from_u32(0x2800 + dots)).collect();
        lines.push(format!("{label:>AXIS$} ┤{drawn}"));
    }
    let gap = WIDTH.saturating_sub(first.len() + last.len());
    lines.push(format!("{:AXIS$}  {first}{:gap$}{last}", "", ""));
    Some(lines.join("\n"))
}

/// The price at a part of the way, on straight lines between the points.
fn at(prices: &[f64], part: f64) -> f64 {
    let place = part * (prices.len() - 1) as f64;
    let left = (place.floor() as usize).min(prices.len().saturating_sub(2));
    let rest = place - left as f64;
    match prices.get(left..left + 2) {
        Some([from, to]) => from + (to - from) * rest,
        _ => 0.0,
    }
}

/// The row of a price, from the top; the middle if all prices are equal.
fn row_of(price: f64, (low, high): (f64, f64), rows: usize) -> usize {
    let span = high - low;
    let part = if span > 0.0 { (high - price) / span } else { 0.5 };
    ((part * (rows - 1) as f64).round() as usize).min(rows - 1)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::indexing_slicing)]
mod tests {
    use super::*;

    /// Whether a place of the drawing has a dot.
    fn is_dotted(line: &str, at: usize) -> bool {
        let place = line.chars().nth(AXIS + 2 + at);
        place.is_some_and(|dots| ('\u{2801}'..='\u{28ff}').contains(&dots))
    }

    #[test]
    fn a_line_falls_from_the_upper_left_to_the_lower_right_within_80_columns() {
        let text = drawn(&[1_000_000.5, -1_000_000.5], ("2027-01", "2031-12")).unwrap();
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines.len(), HEIGHT + 1);
        assert!(lines.iter().all(|line| line.chars().count() <= 80), "{text}");
        assert!(is_dotted(lines[0], 0) && !is_dotted(lines[0], WIDTH - 1), "{text}");
        assert!(!is_dotted(lines[7], 0) && is_dotted(lines[7], WIDTH - 1), "{text}");
        assert!(
            lines[0].starts_with(" 1000000.50 ┤") && lines[7].starts_with("-1000000.50 ┤"),
            "{text}"
        );
        assert!(lines[8].ends_with("2031-12"));
    }

    #[test]
    fn equal_prices_are_one_level_line_and_one_price_is_no_line() {
        let text = drawn(&[5.0; 12], ("a", "b")).unwrap();
        assert_eq!(text.lines().filter(|line| is_dotted(line, WIDTH / 2)).count(), 1);
        assert_eq!(drawn(&[5.0], ("a", "a")), None);
    }
}
