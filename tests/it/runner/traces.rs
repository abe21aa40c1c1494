//! Traces: what a collector that speaks OTLP gets of a run, and what the target is told of it.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use opentelemetry_proto::tonic::collector::trace::v1::trace_service_server::{TraceService, TraceServiceServer};
use opentelemetry_proto::tonic::collector::trace::v1::{ExportTraceServiceRequest, ExportTraceServiceResponse};
use opentelemetry_proto::tonic::trace::v1::Span;
use opentelemetry_proto::tonic::trace::v1::span::SpanKind;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tonic::{Request, Response, Status};
use windlass::clock::Clock;
use windlass::config::{Otel, Settings};
use windlass::domain::run::NewRun;
use windlass::domain::trigger::Cause;
use windlass::plugin::EMBEDDED;
use windlass::store::schedule::Occurrence;

use super::request::{Step, Target, allowed};
use super::steps::with_a_real_guest_and;
use crate::database;
use crate::world::{World, new_run};

/// Keeps what it gets.
#[derive(Clone, Default)]
pub struct Collector(Arc<Mutex<Vec<ExportTraceServiceRequest>>>);

#[tonic::async_trait]
impl TraceService for Collector {
    async fn export(&self, request: Request<ExportTraceServiceRequest>) -> Result<Response<ExportTraceServiceResponse>, Status> {
        self.0.lock().unwrap().push(request.into_inner());
        Ok(Response::new(ExportTraceServiceResponse::default()))
    }
}

impl Collector {
    /// Answers where it listens.
    pub async fn open(&self) -> String {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let endpoint = format!("http://{}", listener.local_addr().unwrap());
        let service = TraceServiceServer::new(self.clone());
        let incoming = tonic::transport::server::TcpIncoming::from(listener);
        tokio::spawn(tonic::transport::Server::builder().add_service(service).serve_with_incoming(incoming));
        endpoint
    }

    pub fn spans(&self) -> Vec<Span> {
        let all = self.0.lock().unwrap();
        let scopes = all.iter().flat_map(|request| &request.resource_spans).flat_map(|resource| &resource.scope_spans);
        scopes.flat_map(|scope| scope.spans.clone()).collect()
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// One run of `http-request`, which asks the target until it is answered well.
async fn run(endpoint: &str, steps: Vec<Step>) -> (World, Target, Value) {
    let world = World::new().await;
    let target = Target::start(steps).await;
    let (mut spec, input) = (allowed(&world, target.address, json!({}), 5).await, Value::Null);
    // Longer than it takes to store the end of an attempt.
    spec["retry"]["base"] = json!("500ms");
    let plugin = EMBEDDED.iter().find(|plugin| plugin.name == "http-request").unwrap();
    let settings = Settings { otel: Some(Otel { endpoint: endpoint.into() }), ..Settings::default() };
    let id = with_a_real_guest_and(&world, plugin.bytes, spec, input, settings).await;
    let state = world.run(id).await.state.word();
    (world, target, json!(state))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_is_one_trace_with_its_attempts_and_requests_and_the_target_is_told() {
    let collector = Collector::default();
    let endpoint = collector.open().await;
    let (_world, target, state) = run(&endpoint, vec![Step::Answer(503, "", "busy"), Step::Answer(200, "", "well")]).await;
    assert_eq!(state, "succeeded");
    let spans = collector.spans();
    let mut names: BTreeMap<&str, usize> = BTreeMap::new();
    spans.iter().for_each(|span| *names.entry(span.name.as_str()).or_default() += 1);
    assert_eq!(names, BTreeMap::from([("run", 1), ("wait", 1), ("attempt", 2), ("backoff", 1), ("GET", 2)]));
    let root = spans.iter().find(|span| span.name == "run").unwrap();
    assert!(spans.iter().all(|span| span.trace_id == root.trace_id && root.trace_id.len() == 16), "one trace");
    let attempts: Vec<&Span> = spans.iter().filter(|span| span.name == "attempt").collect();
    assert!(attempts.iter().all(|attempt| attempt.parent_span_id == root.span_id));
    let calls: Vec<&Span> = spans.iter().filter(|span| span.name == "GET").collect();
    for call in &calls {
        assert_eq!(call.kind, SpanKind::Client as i32);
        assert!(attempts.iter().any(|attempt| attempt.span_id == call.parent_span_id), "in its attempt");
    }
    // The target carries the trace on from the request that reached it.
    let came = target.came();
    assert_eq!(came.len(), 2);
    for request in &came {
        let told = |call: &&Span| request.contains(&format!("traceparent: 00-{}-{}-01", hex(&root.trace_id), hex(&call.span_id)));
        assert_eq!(calls.iter().copied().filter(|call| told(call)).count(), 1, "{request}");
    }
    assert_ne!(came[0], came[1]);
    let resource = &collector.0.lock().unwrap()[0].resource_spans[0];
    let words = format!("{:?}", resource.resource);
    assert!(words.contains("service.name") && words.contains("windlass"), "{words}");
}

/// The attributes of a span by key.
fn attributes(span: &Span) -> BTreeMap<String, String> {
    let text = |value: &Option<opentelemetry_proto::tonic::common::v1::AnyValue>| match value.as_ref()?.value.as_ref()? {
        opentelemetry_proto::tonic::common::v1::any_value::Value::StringValue(text) => Some(text.clone()),
        _ => None,
    };
    span.attributes.iter().filter_map(|pair| Some((pair.key.clone(), text(&pair.value)?))).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_that_is_cancelled_or_lost_has_its_trace_and_says_what_made_it() {
    // There, a node that lives is not lost.
    if database::is_postgres() {
        return;
    }
    let (collector, world) = (Collector::default(), World::new().await);
    let endpoint = collector.open().await;
    let context = world.context_with(|settings| settings.otel = Some(Otel { endpoint }));
    context.definitions.refresh(&context.store).await.unwrap();
    let job = world.job("j", json!({ "max_live": 0, "triggers": [{ "schedule": "*/10 * * * *" }] })).await;
    context.definitions.refresh(&context.store).await.unwrap();
    let cancelled = world.enqueue(&job).await;
    let mut tx = world.store.begin().await.unwrap();
    tx.cancel(job.tenant, cancelled, "ann", world.clock.now()).await.unwrap();
    tx.commit().await.unwrap();
    // Made by the schedule a second after its time, and lost more often than it may be.
    let due_at = world.clock.now();
    world.clock.advance(std::time::Duration::from_secs(1));
    let scheduled = NewRun { cause: Cause::Schedule, ..new_run(&job) };
    let lost = world.store.enqueue(vec![scheduled]).await.unwrap().remove(0).unwrap().id();
    let mut tx = world.store.begin().await.unwrap();
    let trigger = tx.triggers_of(job.id).await.unwrap().remove(0);
    let ran =
        Occurrence { trigger: trigger.id, due_at, tenant: job.tenant, job: job.id, result: "ran", run: Some(lost), note: None };
    tx.put_occurrences(&[ran], world.clock.now()).await.unwrap();
    tx.commit().await.unwrap();
    for _ in 0..20 {
        world.clock.advance(std::time::Duration::from_secs(600));
        let mut tx = world.store.begin().await.unwrap();
        tx.promote(world.clock.now()).await.unwrap();
        tx.commit().await.unwrap();
        if world.run(lost).await.state.is_final() || world.claim(job.id, 1).await.is_empty() {
            break;
        }
        windlass::runner::reaper::take_back(&context).await.unwrap();
    }
    assert_eq!(world.run(lost).await.state.word(), "dead");
    let roots = async || {
        context.traces.flush().await;
        let roots: Vec<Span> = collector.spans().into_iter().filter(|span| span.name == "run").collect();
        (roots.len() == 2).then_some(roots)
    };
    let roots = world.until("both are there", std::time::Duration::ZERO, roots).await;
    let of = |id: windlass::id::Id| roots.iter().find(|root| attributes(root)["windlass.run"] == id.to_string()).unwrap();
    let told = attributes(of(cancelled));
    assert_eq!((told["windlass.outcome"].as_str(), told["windlass.attempts"].as_str()), ("cancelled", "0"));
    let told = attributes(of(lost));
    assert_eq!((told["windlass.trigger"].as_str(), told["windlass.trigger.name"].as_str()), ("schedule", "*/10 * * * *"));
    assert_eq!(
        (told["windlass.trigger.due_at"].as_str(), told["windlass.outcome"].as_str()),
        ("2026-11-22T10:00:00.000Z", "lost")
    );
    let spans = collector.spans();
    let trigger = spans.iter().find(|span| span.name == "trigger").unwrap();
    assert_eq!((&trigger.trace_id, &trigger.parent_span_id), (&of(lost).trace_id, &of(lost).span_id));
    assert_eq!(trigger.end_time_unix_nano - trigger.start_time_unix_nano, 1_000_000_000);
    assert!(spans.iter().any(|span| span.name == "attempt" && span.trace_id == of(lost).trace_id));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_collector_that_is_not_there_costs_nothing() {
    let free = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let (_world, target, state) = run(&format!("http://{free}"), vec![Step::Answer(200, "", "well")]).await;
    assert_eq!((state, target.came().len()), (json!("succeeded"), 1));
}
