//! The job: batch after batch until nothing is ready or the attempt's time is nearly over.

use std::time::Duration;

use serde::Deserialize;
use windlass_plugin::http::{self, Response};
use windlass_plugin::text::quote;
use windlass_plugin::{Class, Failure, Output, Work, control, log, now_ms, progress, sign};

use crate::answer::{Answer, decode};
use crate::config::{Config, MAX_BATCH};
use crate::in_flight;
use crate::plan::{self, Next, Plan};
use crate::tally::{Failures, Tally};
use crate::verdict::{self, Head};
use crate::{backlog, request};

const CONNECT: Duration = Duration::from_secs(5);
const DOING: &str = "draining through Special:RunJobs";
/// Statistics of `MAX_BATCH` jobs with long errors.
const MAX_BODY: usize = 8 * 1024 * 1024;
/// How long a signature is valid beyond the batch: enough for a slow connection and clocks that differ a little.
const SIGNATURE_MS: u64 = 60_000;

/// The run's input, all of it optional.
#[derive(Debug, Default, Deserialize)]
struct Input {
    /// Jobs that this run may take in all.
    maxjobs: Option<u64>,
}

struct Drain<'a> {
    work: &'a Work,
    config: Config,
    /// How much of `maxjobs` is left.
    budget: u64,
    at_start_ms: u64,
    backlog_at_start: Option<u64>,
    tally: Tally,
    last: Option<Answer>,
}

pub fn run(work: &Work) -> Result<Output, Failure> {
    let config = crate::configured(&work.config)?;
    let input = work.input::<Option<Input>>()?.unwrap_or_default();
    let at_start_ms = control::remaining_ms();
    in_flight::check()?;
    let backlog_at_start = look_at_backlog(&config, at_start_ms)?;
    let budget = input.maxjobs.unwrap_or(u64::MAX);
    let mut drain = Drain { work, config, budget, at_start_ms, backlog_at_start, tally: Tally::default(), last: None };
    drain.report("starting");
    let ended = drain.batches();
    match ended {
        Ok(end) => Ok(drain.output(end)),
        // Jobs that were done stay done; the numbers must not be lost with the failure.
        Err(failure) if drain.tally.taken() > 0 => {
            let doing = format!("after {} done and {} failed", drain.tally.done, drain.tally.failed);
            Err(failure.context(&doing).counts(drain.tally.counts(None)))
        }
        Err(failure) => Err(failure),
    }
}

/// The backlog is only for the progress shown, so a wiki whose API is closed can be drained all the same. One that does not
/// answer at all is left alone: a drain sent to it could only become one in flight.
fn look_at_backlog(config: &Config, remaining_ms: u64) -> Result<Option<u64>, Failure> {
    match backlog::ask(config, (remaining_ms / 4).min(5_000)) {
        Ok(size) => Ok(Some(size)),
        Err(failure) if failure.class() == Class::Transient => Err(failure),
        Err(failure) => {
            log::warn!("the backlog is not known, draining all the same: {failure}");
            Ok(None)
        }
    }
}

/// Why a run ends well.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    NothingReady,
    TimeIsOver,
    MaxJobs,
    NoProgress,
}

impl Drain<'_> {
    fn batches(&mut self) -> Result<End, Failure> {
        while self.budget > 0 {
            if control::should_stop() {
                return self.time_is_over("the run was told to stop before its first batch");
            }
            let plan = plan::next_batch(control::remaining_ms(), self.at_start_ms, self.config.max_time_s);
            let Some(plan) = plan else {
                return self
                    .time_is_over("too little of the time limit is left for a first batch; give the job some seconds more");
            };
            let answer = self.batch(plan)?;
            let failures = self.tally.add(&answer);
            self.budget = self.budget.saturating_sub(answer.jobs.len() as u64);
            log_failures(&failures);
            self.report(answer.jobs.last().map_or("no job was ready", |job| &job.job_type));
            let last_error = answer.jobs.iter().rev().find_map(|job| job.error.as_deref());
            let next = plan::after_batch(&answer.reached, answer.jobs.len(), self.config.job_type.as_deref(), last_error);
            log::info!(jobs = answer.jobs.len(), max_time_s = plan.max_time_s; "a batch ended: {:?}", answer.reached);
            self.last = Some(answer);
            match next {
                Next::Another => {}
                Next::NothingReady => return Ok(End::NothingReady),
                Next::NoProgress => return Ok(End::NoProgress),
                Next::Fail(failure) => return Err(failure),
            }
        }
        Ok(End::MaxJobs)
    }

    /// Well ended if a batch was run; otherwise nothing was done, and that must not look like a success.
    fn time_is_over(&self, nothing_done: &str) -> Result<End, Failure> {
        if self.tally.batches > 0 { Ok(End::TimeIsOver) } else { Err(Failure::transient(nothing_done)) }
    }

    fn batch(&self, plan: Plan) -> Result<Answer, Failure> {
        let config = &self.config;
        let max_jobs = config.batch.min(self.budget).min(MAX_BATCH);
        let expires_s = (now_ms() + SIGNATURE_MS).div_ceil(1000) + plan.max_time_s;
        let mut parameters = request::parameters(max_jobs, plan.max_time_s, expires_s, config.job_type.as_deref());
        let canonical = request::canonical(&parameters);
        let signature = sign::sign_hex(&config.secret, "hmac-sha1", canonical.as_bytes())
            .map_err(|refusal| Failure::from(refusal).context(&format!("signing with secret \"{}\"", config.secret)))?;
        parameters.push(("signature".to_owned(), signature));

        let in_flight = in_flight::begin(self.work, plan)?;
        let sent_ms = now_ms();
        let answered = http::post(&config.index)
            .header("accept", "application/json")
            .form(parameters.iter().map(|(key, value)| (key, value)))
            .connect_timeout(CONNECT)
            .first_byte_timeout(Duration::from_millis(plan.first_byte_ms))
            .between_bytes_timeout(Duration::from_millis(plan.first_byte_ms))
            .send();
        let response = match answered {
            Ok(response) => response,
            Err(error) => {
                if !error.may_have_been_sent() {
                    in_flight.ended();
                }
                return Err(Failure::from(error).context(DOING));
            }
        };
        let head = Head::of(&response, now_ms());
        let body = self.body(response, &head)?;
        if verdict::ends_the_drain(head.status, now_ms().saturating_sub(sent_ms)) {
            in_flight.ended();
        }
        judge(&head, &body, &config.secret)
    }

    /// The whole of a good answer: the wiki writes it when it has finished, so a part of it leaves the end unknown.
    fn body(&self, response: Response, head: &Head) -> Result<String, Failure> {
        if head.status == 200 {
            response.text(MAX_BODY).map_err(|error| Failure::from(error).context(DOING))
        } else {
            Ok(response.beginning(16 * 1024))
        }
    }

    fn report(&self, message: &str) {
        let done = self.tally.taken();
        // The backlog grows while it is drained (jobs make jobs), and the statistic may be a minute old.
        let total = self.backlog_at_start.map(|size| size.max(done));
        progress::report(done, total, message);
    }

    fn output(&self, end: End) -> Output {
        let (why, left) = match end {
            End::NothingReady => (None, Some(0)),
            End::TimeIsOver => (Some("its time is over, more may wait"), None),
            End::MaxJobs => (Some("its maxjobs are taken, more may wait"), None),
            End::NoProgress => (Some("the wiki stopped at a limit without taking a job"), None),
        };
        let data = self.tally.data(self.backlog_at_start, self.last.as_ref());
        Output::new(self.tally.summary(why)).data(data).counts(self.tally.counts(left))
    }
}

fn judge(head: &Head, body: &str, secret: &str) -> Result<Answer, Failure> {
    if head.status != 200 {
        return Err(verdict::of_signed_status(head, body, DOING, secret));
    }
    // Transient: a maintenance page comes with status 200 as well, and passes.
    decode(body).map_err(|error| {
        let said = quote(body, verdict::QUOTED);
        Failure::transient(format!("{DOING}: expected its JSON, got {} ({error}): {said}", head.content_type))
    })
}

fn log_failures(failures: &Failures) {
    for ((job_type, error), count) in failures {
        log::error!(job_type = job_type, error = error, count = count; "{count} × {job_type} failed: {error}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn head(status: u16) -> Head {
        Head { status, content_type: "text/html; charset=UTF-8".into(), ..Head::default() }
    }

    #[test]
    fn a_page_with_status_200_is_not_an_answer() {
        let failure = judge(&head(200), "<!DOCTYPE html><title>Main Page</title>", "wiki-key").unwrap_err();
        assert_eq!(failure.class(), Class::Transient);
        assert!(failure.message().contains("got text/html; charset=UTF-8"), "{failure}");
        assert!(failure.message().ends_with("'<!DOCTYPE html><title>Main Page</title>'"), "{failure}");
    }

    #[test]
    fn an_answer_is_an_answer() {
        let answer = judge(&head(200), r#"{"jobs":[],"reached":"none-ready","backoffs":[],"elapsed":0}"#, "wiki-key");
        assert!(answer.unwrap().jobs.is_empty());
    }

    #[test]
    fn a_read_only_wiki_is_left_in_peace() {
        let failure = judge(&head(423), "The wiki is in read-only mode", "wiki-key").unwrap_err();
        assert_eq!((failure.class(), failure.delay_ms()), (Class::Snooze, Some(30_000)));
    }
}
