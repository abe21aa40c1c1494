//! `/events`: tells open pages that something changed, at most once a second. What changed they ask for themselves.

use std::convert::Infallible;
use std::time::Duration;

use axum::extract::State;
use axum::response::Sse;
use axum::response::sse::{Event, KeepAlive};
use futures_util::Stream;

use super::Web;
use super::session::Session;

/// Between two events of one page.
const PACE: Duration = Duration::from_secs(1);
/// A stream ends after so long; the page opens the next one, with its session checked again.
const LIFE: Duration = Duration::from_secs(600);

pub async fn events(State(web): State<Web>, _session: Session) -> Sse<impl Stream<Item = Result<Event, Infallible>>> {
    let mut changes = web.app.store.signals().changes();
    let end = tokio::time::Instant::now() + LIFE;
    let stream = async_stream::stream! {
        yield Ok(Event::default().retry(Duration::from_secs(2)).comment("open"));
        loop {
            tokio::select! {
                () = web.stop.cancelled() => break,
                () = tokio::time::sleep_until(end) => break,
                changed = changes.changed() => {
                    if changed.is_err() {
                        break;
                    }
                    let n = *changes.borrow_and_update();
                    yield Ok(Event::default().event("changed").data(n.to_string()));
                    tokio::time::sleep(PACE).await;
                }
            }
        }
    };
    Sse::new(stream).keep_alive(KeepAlive::new().interval(Duration::from_secs(15)))
}
