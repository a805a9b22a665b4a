//! Finished runs of `dp verify`: an alert needs to know about them after the command has ended.

use domain::Micros;
use tokio_postgres::types::Type;

use super::{CALL_TIMEOUT, Parameter, Postgres, within};
use crate::StoreError;

/// What a run has found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum VerifyResult {
    /// All stores agree with the raw log.
    Ok,
    /// Rows are lost, doubled or wrong.
    Differs,
    /// Ticks were in flight, so that differences prove nothing.
    Undecided,
    /// A server did not answer, or a topic or table is missing.
    CouldNotRun,
}

impl VerifyResult {
    /// Its name in the table.
    pub fn name(self) -> &'static str {
        match self {
            VerifyResult::Ok => "ok",
            VerifyResult::Differs => "differs",
            VerifyResult::Undecided => "undecided",
            VerifyResult::CouldNotRun => "could_not_run",
        }
    }
}

/// A finished run.
#[derive(Debug, Clone, PartialEq, Eq)]
#[allow(missing_docs)]
pub struct VerifyRun {
    pub started_at: Micros,
    pub finished_at: Micros,
    pub result: VerifyResult,
    pub differences: u64,
    /// Names of the checks that found differences.
    pub failed_checks: Vec<String>,
}

/// The last runs.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct LastVerify {
    /// End of the last run, in seconds since 1970.
    pub run: f64,
    /// End of the last run that found no difference; `None` if there is none.
    pub success: Option<f64>,
    /// Differences that the last run with a verdict found; `None` if no run had one.
    pub differences: Option<i64>,
}

/// The runs on one generation. Cheap to clone.
#[derive(Clone)]
pub struct VerifyRuns {
    postgres: Postgres,
    generation: String,
}

/// A bigint times an interval is exact up to 2^53 microseconds, which is the year 2255.
const INSERT: &str = "WITH old AS (DELETE FROM verify_runs WHERE finished_at < now() - interval '90 days') \
     INSERT INTO verify_runs (generation, started_at, finished_at, result, differences, failed_checks) \
     VALUES ($1, timestamptz 'epoch' + $2 * interval '1 microsecond', timestamptz 'epoch' + $3 * interval '1 microsecond', \
             $4, $5, $6)";
const LAST: &str = "SELECT extract(epoch FROM max(finished_at))::float8, \
            extract(epoch FROM max(finished_at) FILTER (WHERE result = 'ok'))::float8, \
            (array_agg(differences ORDER BY finished_at DESC, id DESC) FILTER (WHERE result IN ('ok', 'differs')))[1] \
     FROM verify_runs WHERE generation = $1";

impl VerifyRuns {
    /// Uses this pool, for this generation (empty for the first).
    pub fn new(postgres: Postgres, generation: &str) -> VerifyRuns {
        VerifyRuns {
            postgres,
            generation: generation.to_owned(),
        }
    }

    /// Records a run, and removes runs older than 90 days.
    ///
    /// # Errors
    /// The error of the server.
    pub async fn record(&self, run: &VerifyRun) -> Result<(), StoreError> {
        const OPERATION: &str = "record a verification";
        let differences = i64::try_from(run.differences).unwrap_or(i64::MAX);
        let values: [Parameter<'_>; 6] = [
            (&self.generation, Type::TEXT),
            (&run.started_at, Type::INT8),
            (&run.finished_at, Type::INT8),
            (&run.result.name(), Type::TEXT),
            (&differences, Type::INT8),
            (&run.failed_checks, Type::TEXT_ARRAY),
        ];
        let client = self.postgres.client(OPERATION).await?;
        let result = within(OPERATION, CALL_TIMEOUT, client.execute_typed(INSERT, &values)).await;
        self.postgres.settle(client, result).map(drop)
    }

    /// The last runs; `None` if there is none.
    ///
    /// # Errors
    /// The error of the server.
    pub async fn last(&self) -> Result<Option<LastVerify>, StoreError> {
        const OPERATION: &str = "read the last verification";
        let client = self.postgres.client(OPERATION).await?;
        let values: [Parameter<'_>; 1] = [(&self.generation, Type::TEXT)];
        let rows = within(OPERATION, CALL_TIMEOUT, self.postgres.read(&client, LAST, &values)).await?;
        let Some(row) = rows.first() else { return Ok(None) };
        let read = || -> Result<Option<LastVerify>, tokio_postgres::Error> {
            let Some(run) = row.try_get(0)? else { return Ok(None) };
            Ok(Some(LastVerify {
                run,
                success: row.try_get(1)?,
                differences: row.try_get(2)?,
            }))
        };
        read().map_err(|error| StoreError::postgres(OPERATION, &error))
    }
}
