//! A run, because a person or a program asks for one.

use std::sync::Arc;

use serde_json::Value;
use sha2::{Digest, Sha256};

use super::{App, Who};
use crate::domain::job::Job;
use crate::domain::member::Role;
use crate::domain::run::{Enqueued, Idempotency, NewRun};
use crate::domain::trigger::Cause;
use crate::error::{Error, Problem, Result};
use crate::id::Id;

/// Bytes of a run's input as JSON.
pub const INPUT_LIMIT: usize = 256 * 1024;

/// What is asked for.
#[derive(Debug, Clone, Default)]
pub struct Request {
    pub input: Option<Value>,
    /// The same key within 24 h gets the same run.
    pub idempotency_key: Option<String>,
}

impl App {
    /// Enqueues a run of a job: from the button (`Manual`) or over the API (`Api`).
    ///
    /// # Errors
    /// `NotFound`; `Invalid` for too large an input; `Conflict` for a key used with another body.
    pub async fn run_now(&self, tenant: &str, job: &str, request: Request, cause: Cause, who: &Who) -> Result<Enqueued> {
        let (tenant, job) = self.find_job(tenant, job).await?;
        who.may(Role::Operator, tenant, "starting a run")?;
        let run = self.new_run(&job, cause, &request, who)?;
        let answers = self.store.enqueue(vec![run]).await?;
        answers.into_iter().next().unwrap_or_else(|| Err(Error::Internal(anyhow::anyhow!("enqueue gave no answer"))))
    }

    /// The tenant's id and its job.
    pub async fn find_job(&self, tenant: &str, job: &str) -> Result<(Id, Arc<Job>)> {
        let tenant = self.store.need_tenant(tenant).await?.id;
        Ok((tenant, self.store.need_job(tenant, job).await?))
    }

    fn new_run(&self, job: &Job, cause: Cause, request: &Request, who: &Who) -> Result<NewRun> {
        let body = request.input.as_ref().map(Value::to_string).unwrap_or_default();
        if body.len() > INPUT_LIMIT {
            return Err(Error::Invalid(vec![Problem::new(
                "input",
                format!("{} bytes; at most {INPUT_LIMIT}: put what is larger where the job can fetch it", body.len()),
            )]));
        }
        let idempotency = request.idempotency_key.clone().map(|key| {
            let request_hash = Sha256::digest(body.as_bytes()).iter().map(|byte| format!("{byte:02x}")).collect();
            Idempotency { key, request_hash }
        });
        Ok(NewRun {
            tenant: job.tenant,
            job: job.id,
            revision: job.revision,
            cause,
            input: request.input.clone(),
            due_at: None,
            start_by: job.spec.start_deadline.map(|deadline| self.now().plus(deadline.0)),
            parent: None,
            // The API is asked a thousand times a second; who asked stands in its log.
            requested_by: (cause == Cause::Manual).then(|| who.name.clone()),
            max_live: job.spec.max_live,
            idempotency,
        })
    }
}
