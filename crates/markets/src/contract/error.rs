//! Why a contract, or its days, cannot be told.

use jiff::civil::Date;

/// An error of a contract: what is wrong, and what to write instead.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ContractError {
    /// The text names no tenor.
    #[error(
        "\"{0}\" is no contract: write M1, 2027-01, F27, Q1-27, SUM-27, WIN-27, CAL-27 or BALMO (years 2000 to 2099)"
    )]
    UnknownTenor(String),
    /// The text is a number of months, and the code of a month that is not over.
    #[error(
        "\"{written}\" may be the exchange's code of {june} or a number of months on this day: write {june} or the month that it means"
    )]
    TwoMeanings {
        /// The text.
        written: String,
        /// The month of the code.
        june: String,
    },
    /// The text names no block.
    #[error("\"{0}\" is no block: write flat, peak or off_peak")]
    UnknownBlock(String),
    /// A date or time lies outside the calendar.
    #[error("a date of {0} is outside the calendar: check the years of the contracts")]
    OutOfCalendar(String),
    /// The balance of a month, quoted on its last day.
    #[error("BALMO of {0}, the last day of its month, has no day left")]
    NoDayLeft(Date),
    /// The instrument id is not one of a contract.
    #[error("\"{0}\" names no contract: MARKET.<hub>.<contract>.<BLOCK>.SETTLEMENT is expected")]
    NotAContract(String),
}
