//! The texts of the fence: who may write a partition of a topic, and how a running insert is recognised.

use domain::Claim;
use uuid::Uuid;

use super::{FENCED, literal};

/// Who claims a partition, and from whom. An owner recognises its claims even if it never received the answer to one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Claimant {
    owner: u64,
    only_its_own: bool,
}

impl Claimant {
    /// Claims from whoever has claimed the partition. `owner` is unique for each assignment of a partition.
    pub fn new(owner: u64) -> Claimant {
        Claimant {
            owner,
            only_its_own: false,
        }
    }

    /// Claims again: fails if anyone else has claimed the partition since this owner did.
    pub fn again(owner: u64) -> Claimant {
        Claimant {
            owner,
            only_its_own: true,
        }
    }

    /// Claims from whoever has claimed the partition, once.
    pub fn once() -> Claimant {
        Claimant::new(Uuid::new_v4().as_u64_pair().1)
    }

    /// A new id for a claim; its upper half is the owner.
    pub(super) fn claim_id(self) -> Uuid {
        let (_, random) = Uuid::new_v4().as_u64_pair();
        Uuid::from_u64_pair(self.owner, random)
    }

    /// Whether a claim that was not stored means that another owner has claimed the partition.
    pub(super) fn may_be_refused(self) -> bool {
        self.only_its_own
    }

    /// Stores a claim with this id, if it may be made.
    pub(super) fn claim_sql(self, database: &str, topic: &str, partition: i32, id: Uuid) -> String {
        let only = match self.only_its_own {
            true => {
                let owner: String = id.to_string().chars().take(OWNER_LENGTH).collect();
                format!(" HAVING startsWith(toString({NEWEST}), '{owner}')")
            }
            false => String::new(),
        };
        let topic = literal(topic);
        format!(
            "INSERT INTO {database}.writer_fence (topic, partition, epoch, writer) \
             SELECT {topic}, {partition}, max(epoch) + 1, '{id}' FROM {database}.writer_fence \
             WHERE topic = {topic} AND partition = {partition}{only}"
        )
    }
}

/// The writer that has claimed a partition last.
const NEWEST: &str = "argMax(writer, (epoch, writer))";
/// Length of the owner in the text of a claim's id: its upper half.
const OWNER_LENGTH: usize = 18;

/// A condition that throws unless each claim is the newest of its partition. All claims are of one topic.
pub(super) fn condition(database: &str, claims: &[Claim]) -> String {
    let topic = literal(claims.first().map_or("", |claim| &claim.topic));
    let newest: Vec<String> = claims
        .iter()
        .map(|claim| format!("({}, toUUID('{}'))", claim.partition, claim.writer))
        .collect();
    format!(
        "throwIf((SELECT count() FROM (SELECT partition, {NEWEST} AS newest FROM {database}.writer_fence \
         WHERE topic = {topic} AND partition IN ({}) GROUP BY partition) WHERE (partition, newest) IN ({})) != {}, \
         '{FENCED}') = 0",
        partitions(claims),
        newest.join(", "),
        claims.len()
    )
}

/// The id of an insert: `writer:<topic>:<partitions>:<claim>:<number>`.
pub(super) fn query_id(claims: &[Claim], number: u64) -> String {
    let (topic, writer) = claims
        .first()
        .map_or(("", Uuid::nil()), |claim| (&claim.topic, claim.writer));
    format!("writer:{topic}:{}:{writer}:{number}", partitions(claims))
}

/// The condition that a query is an insert of this partition, alone or among others. (Names of topics contain no colon.)
pub(super) fn is_insert_of(topic: &str, partition: i32) -> String {
    format!(
        "startsWith(query_id, {}) AND has(splitByChar(',', splitByChar(':', query_id)[3]), '{partition}')",
        literal(&format!("writer:{topic}:"))
    )
}

fn partitions(claims: &[Claim]) -> String {
    let numbers: Vec<String> = claims.iter().map(|claim| claim.partition.to_string()).collect();
    numbers.join(",")
}
