//! Spans on their way to a collector that speaks OTLP. Nobody waits for it: what it does not take in time is dropped.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, SystemTime};

use opentelemetry::trace::{SpanContext, SpanId, SpanKind, Status, TraceFlags, TraceId, TraceState};
use opentelemetry::{InstrumentationScope, KeyValue};
use opentelemetry_otlp::{SpanExporter, WithExportConfig};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::trace::{SpanData, SpanEvents, SpanExporter as _, SpanLinks};
use tokio::sync::{mpsc, oneshot};

use crate::clock::Timestamp;
use crate::config::Otel;
use crate::domain::trace::Span;

/// What waits for the collector at most, and what one message takes.
const WAITING: usize = 1_024;
const BATCH: usize = 512;
/// The collector has so long to take a batch.
const PATIENCE: Duration = Duration::from_secs(5);

enum Sent {
    Spans(Vec<Span>),
    /// Answered once all before is sent or dropped.
    Flush(oneshot::Sender<()>),
}

/// The way to the collector; without one, nothing is made. Cheap to clone.
#[derive(Clone, Default)]
pub struct Traces(Option<mpsc::Sender<Sent>>);

impl Traces {
    /// Opens the way; connecting waits for the first spans.
    pub fn of(otel: Option<&Otel>, node: i64) -> Self {
        let Some(otel) = otel else { return Self(None) };
        let exporter = SpanExporter::builder().with_tonic().with_endpoint(&otel.endpoint).with_timeout(PATIENCE).build();
        let mut exporter = match exporter {
            Ok(exporter) => exporter,
            Err(wrong) => {
                tracing::error!(error = %wrong, "otel.endpoint cannot be used: no traces");
                return Self(None);
            }
        };
        let resource = Resource::builder_empty()
            .with_service_name("windlass")
            .with_attributes([
                KeyValue::new("service.version", env!("CARGO_PKG_VERSION")),
                KeyValue::new("service.instance.id", node.to_string()),
            ])
            .build();
        exporter.set_resource(&resource);
        let (sender, inbox) = mpsc::channel(WAITING);
        tokio::spawn(export(exporter, inbox));
        Self(Some(sender))
    }

    pub fn are_wanted(&self) -> bool {
        self.0.is_some()
    }

    /// Hands spans over, or drops them when too many wait.
    pub fn send(&self, spans: Vec<Span>) {
        if let Some(sender) = self.0.as_ref().filter(|_| !spans.is_empty()) {
            let _ = sender.try_send(Sent::Spans(spans));
        }
    }

    /// Waits until what was handed over is sent, at most as long as the collector has for a batch.
    pub async fn flush(&self) {
        let Some(sender) = &self.0 else { return };
        let (done, sent) = oneshot::channel();
        let flushed = async {
            if sender.send(Sent::Flush(done)).await.is_ok() {
                let _ = sent.await;
            }
        };
        let _ = tokio::time::timeout(PATIENCE, flushed).await;
    }
}

async fn export(exporter: SpanExporter, mut inbox: mpsc::Receiver<Sent>) {
    let (scope, away) = (Arc::new(scope()), AtomicBool::new(false));
    let mut gathered = Vec::with_capacity(BATCH);
    while inbox.recv_many(&mut gathered, BATCH).await > 0 {
        let (mut batch, mut flushed) = (Vec::new(), Vec::new());
        for sent in gathered.drain(..) {
            match sent {
                Sent::Spans(spans) => batch.extend(spans.into_iter().map(|span| data(span, &scope))),
                Sent::Flush(done) => flushed.push(done),
            }
        }
        // In parts: a collector takes 4 MiB at once.
        while !batch.is_empty() {
            let rest = batch.split_off(batch.len().min(BATCH));
            match exporter.export(std::mem::replace(&mut batch, rest)).await {
                Ok(()) if away.swap(false, Ordering::Relaxed) => tracing::info!("the collector takes traces again"),
                Err(wrong) if !away.swap(true, Ordering::Relaxed) => {
                    tracing::warn!(error = %wrong, "the collector does not take traces; they are dropped, and this is not told again");
                }
                _ => {}
            }
        }
        for done in flushed {
            // Whoever waited may have gone.
            let _ = done.send(());
        }
    }
}

fn scope() -> InstrumentationScope {
    InstrumentationScope::builder("windlass").with_version(env!("CARGO_PKG_VERSION")).build()
}

fn data(span: Span, scope: &InstrumentationScope) -> SpanData {
    let context = SpanContext::new(
        TraceId::from_bytes(span.trace.to_be_bytes()),
        SpanId::from_bytes(span.id.to_be_bytes()),
        TraceFlags::SAMPLED,
        false,
        TraceState::default(),
    );
    SpanData {
        span_context: context,
        parent_span_id: SpanId::from_bytes(span.parent.to_be_bytes()),
        parent_span_is_remote: false,
        span_kind: if span.is_client { SpanKind::Client } else { SpanKind::Internal },
        name: span.name.into(),
        start_time: time(span.start),
        end_time: time(span.end.max(span.start)),
        attributes: span.attributes.into_iter().map(|(key, value)| KeyValue::new(key, value)).collect(),
        dropped_attributes_count: 0,
        events: SpanEvents::default(),
        links: SpanLinks::default(),
        status: span.error.map_or(Status::Unset, Status::error),
        instrumentation_scope: scope.clone(),
    }
}

fn time(at: Timestamp) -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_millis(u64::try_from(at.0).unwrap_or(0))
}
