//! What a finding is about. Pure.

/// What a finding is about, as far as its cause can be elsewhere.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) enum Subject {
    /// Something of its own.
    #[default]
    Itself,
    /// A service or a server, by its name.
    Process(String),
    /// Tables that are missing or changed, and the consumer groups whose writers wait for them.
    Tables { names: Vec<String>, groups: Vec<String> },
    /// A table that a repair has claimed from the writer of this consumer group.
    Fenced(String),
    /// A check that did not run without this server.
    Without(String),
    /// A consumer group that stands; `is_read` if it has members.
    Group { id: String, is_read: bool },
}
