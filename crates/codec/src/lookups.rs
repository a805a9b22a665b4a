//! Schemas that other programs registered. They are looked up in the background, so reading a message never waits for the
//! registry.
//!
//! Role: the first message with an unknown id starts a look-up on the runtime and gets [`CodecError::SchemaPending`], which is
//! transient: the worker reads the same message again after its back-off, and finds the result.
//! Failure: a final result (no such id, no version of a known record) is kept. A registry that does not answer is queried
//! again by the first message after [`ASK_AGAIN`].

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::{Mutex, MutexGuard};
use tokio::runtime::Handle;

use crate::canonical;
use crate::compatibility::{kinds, parse_whole};
use crate::older::Older;
use crate::{CodecError, Record, RegistryClient};

/// Beyond this many ids, all are forgotten: arbitrary bytes can look like any id.
const KEPT: usize = 4096;
/// How long to wait before a registry that did not answer is queried again.
const ASK_AGAIN: Duration = Duration::from_secs(1);

/// How this build can read a schema.
#[derive(Debug, Clone)]
pub(crate) enum Version {
    /// The schema that this build writes.
    Current(Record),
    /// Another version that can be converted to it.
    Older(Arc<Older>),
}

#[derive(Debug)]
enum Answer {
    Pending,
    Known(Version),
    Refused(CodecError),
    Unanswered(CodecError, Instant),
}

/// Ids and their schemas.
#[derive(Debug, Clone)]
pub(crate) struct Lookups {
    client: RegistryClient,
    runtime: Handle,
    answers: Arc<Mutex<HashMap<u32, Answer>>>,
}

impl Lookups {
    /// Runs its look-ups on the runtime that calls it.
    pub(crate) fn new(client: RegistryClient) -> Lookups {
        Lookups {
            client,
            runtime: Handle::current(),
            answers: Arc::default(),
        }
    }

    /// The version of that id, if it is known already.
    pub(crate) fn version(&self, id: u32) -> Result<Version, CodecError> {
        let mut answers = self.answers();
        match answers.get(&id) {
            Some(Answer::Known(version)) => return Ok(version.clone()),
            Some(Answer::Pending) => return Err(CodecError::SchemaPending(id)),
            Some(Answer::Refused(error)) => return Err(error.clone()),
            Some(Answer::Unanswered(error, at)) if at.elapsed() < ASK_AGAIN => return Err(error.clone()),
            Some(Answer::Unanswered(..)) | None => {}
        }
        if answers.len() >= KEPT {
            answers.clear();
        }
        answers.insert(id, Answer::Pending);
        let lookups = self.clone();
        self.runtime.spawn(async move {
            let answer = match lookups.client.schema(id).await.and_then(|text| classify(id, &text)) {
                Ok(version) => Answer::Known(version),
                Err(error @ CodecError::RegistryUnavailable(_)) => Answer::Unanswered(error, Instant::now()),
                Err(error) => Answer::Refused(error),
            };
            lookups.answers().insert(id, answer);
        });
        Err(CodecError::SchemaPending(id))
    }

    // The map is consistent between statements: a panic elsewhere cannot have left it half changed.
    fn answers(&self) -> MutexGuard<'_, HashMap<u32, Answer>> {
        self.answers.lock()
    }
}

fn classify(id: u32, text: &str) -> Result<Version, CodecError> {
    let named = |why: String| CodecError::UnknownSchema(format!("the schema with registry id {id}: {why}"));
    let schema = parse_whole(text).map_err(|error| named(format!("not an Avro schema: {error}")))?;
    // The same fingerprint is not enough: it does not include precision and scale.
    if let Some(record) = canonical::fingerprint(text).and_then(Record::from_fingerprint)
        && parse_whole(record.schema_text()).is_ok_and(|current| kinds(&current) == kinds(&schema))
    {
        return Ok(Version::Current(record));
    }
    Older::new(text)
        .map(|older| Version::Older(Arc::new(older)))
        .map_err(|error| named(error.to_string()))
}
