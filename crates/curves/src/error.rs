//! Why a curve, a contract or a derived value cannot be made.

use markets::contract::ContractError;

/// An error of this crate: what, where, and what to do next.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CurveError {
    /// The registry does not know the market.
    #[error("market \"{0}\" is unknown: use a market of `GET /markets`, such as PJM or GAS")]
    UnknownMarket(String),
    /// The market has no on-peak block.
    #[error("market {0} has no on-peak block: quote its contracts as flat")]
    NoPeak(String),
    /// A contract, or a date, cannot be placed in the calendar.
    #[error(transparent)]
    Contract(#[from] ContractError),
    /// The text names no method.
    #[error("\"{0}\" is no method: write flat, linear, monotone or smooth")]
    UnknownMethod(String),
    /// The text is no definition of a curve.
    #[error(
        "\"{0}\" defines no curve: write a method, and months from the prompt if not all count, such as linear;1,2,3"
    )]
    BadInterpolation(String),
    /// The text names no horizon.
    #[error("\"{0}\" is no horizon: write 1m, 3m, 6m, 1y or all")]
    UnknownHorizon(String),
    /// No quote is left to build a curve from.
    #[error("no quote can be used: {0}")]
    NoQuotes(String),
    /// A ratio or a spread of the seasonal shape is out of range.
    #[error(
        "the seasonal shape of month {0} cannot be used: ratios are from 0.1 to 10, spreads at most 100000 either way"
    )]
    BadShape(u8),
    /// A seasonal shape has not twelve values.
    #[error("the list of seasonal {list} has {given} values: give twelve, from January to December")]
    ShapeLength {
        /// Ratios or spreads.
        list: &'static str,
        /// Number of values that were given.
        given: usize,
    },
    /// A curve has two seasonal shapes.
    #[error("seasonal_ratios and seasonal_spreads are both set: a curve has one seasonal shape, so set one to NULL")]
    TwoShapes,
    /// The equations of a method have no unique solution.
    #[error("the equations of the curve are singular: report the contracts of this curve")]
    Singular,
    /// The number of prices does not match the layout.
    #[error("{given} prices for a layout of {expected} quotes: build the layout of these quotes first")]
    WrongLength {
        /// Number of quotes of the layout.
        expected: usize,
        /// Number of prices that were given.
        given: usize,
    },
    /// The definition of a derived series does not fit its formula.
    #[error("series \"{series}\": {problem}")]
    BadDefinition {
        /// Name of the series.
        series: String,
        /// What to correct.
        problem: String,
    },
    /// A value is too large for exact arithmetic.
    #[error("a value of {0} is too large for exact arithmetic: check the unit of its legs")]
    TooLarge(String),
}
