//! Notes what the world answers, in order, up to a limit.

use std::sync::{Mutex, MutexGuard, PoisonError};

use super::data::Data;
use super::entry::{Answer, Came, End, Entry, Exchange};
use super::recording::{End as Over, Header, Recording};
use crate::clock::Timestamp;
use crate::domain::attempt::Outcome;

/// Bytes that one call's recording may take in memory; what comes after is not kept, and a replay stops there.
pub const LIMIT: usize = 2 * 1024 * 1024;

pub struct Recorder {
    began_at: Timestamp,
    /// What its random numbers are made of.
    pub seed: [u8; 32],
    kept: Mutex<Kept>,
}

#[derive(Default)]
struct Kept {
    entries: Vec<Entry>,
    bytes: usize,
    /// Answers of HTTP so far.
    answers: usize,
    cut: bool,
}

impl Kept {
    /// Whether there is room for so many bytes more; from the first time on that there is none, nothing is kept.
    fn takes(&mut self, bytes: usize) -> bool {
        self.cut |= self.bytes + bytes > LIMIT;
        if !self.cut {
            self.bytes += bytes;
        }
        !self.cut
    }
}

impl Recorder {
    pub fn new(began_at: Timestamp) -> Self {
        Self { began_at, seed: rand::random(), kept: Mutex::default() }
    }

    /// The entry's place, for what is known of it later; `None` once the recording is cut.
    pub fn note(&self, entry: Entry) -> Option<usize> {
        let mut kept = self.lock();
        if !kept.takes(entry.bytes()) {
            return None;
        }
        kept.entries.push(entry);
        Some(kept.entries.len() - 1)
    }

    /// What is known of an entry now, and how many bytes more that takes.
    pub fn change(&self, place: Option<usize>, bytes: usize, change: impl FnOnce(&mut Entry)) {
        let Some(place) = place else { return };
        let mut kept = self.lock();
        if kept.takes(bytes) {
            change(&mut kept.entries[place]);
        }
    }

    /// The head of an answer, or why there is none.
    pub fn answered(&self, place: Option<usize>, came: Came) {
        let Some(place) = place else { return };
        let mut kept = self.lock();
        let bytes = match &came {
            Came::Response { headers, .. } => headers.iter().map(|(name, value)| 48 + name.len() + value.0.len()).sum(),
            Came::Failure(_) => 100,
        };
        if kept.takes(bytes) {
            let nth = kept.answers;
            kept.answers += 1;
            if let Entry::Http(exchange) = &mut kept.entries[place] {
                exchange.answer = Some(Answer { place: nth, came });
            }
        }
    }

    /// A piece of a request's body, and whether it is the last.
    pub fn sent(&self, place: Option<usize>, piece: &[u8], whole: bool) {
        self.exchange(place, piece.len(), |exchange| {
            exchange.body.0.extend_from_slice(piece);
            exchange.whole |= whole;
        });
    }

    /// A piece of an answer's body.
    pub fn received(&self, place: Option<usize>, piece: &[u8]) {
        self.exchange(place, 24 + piece.len(), |exchange| {
            if let Some(Came::Response { body, .. }) = exchange.answer.as_mut().map(|answer| &mut answer.came) {
                body.push(Data(piece.to_vec()));
            }
        });
    }

    pub fn ended(&self, place: Option<usize>, how: End) {
        self.exchange(place, 0, |exchange| {
            if let Some(Came::Response { end, .. }) = exchange.answer.as_mut().map(|answer| &mut answer.came) {
                *end = how;
            }
        });
    }

    fn exchange(&self, place: Option<usize>, bytes: usize, change: impl FnOnce(&mut Exchange)) {
        self.change(place, bytes, |entry| {
            if let Entry::Http(exchange) = entry {
                change(exchange);
            }
        });
    }

    /// As it stands; what is still under way stays unanswered. `header` is told when it began, and its seed.
    pub fn recording(&self, outcome: &Outcome, header: impl FnOnce(Timestamp, [u8; 32]) -> Header) -> Recording {
        let mut kept = self.lock();
        let end = Over { outcome: outcome.into(), cut: kept.cut };
        // Nothing is kept any more: a body that is still being read changes nothing.
        kept.cut = true;
        Recording { header: header(self.began_at, self.seed), entries: std::mem::take(&mut kept.entries), end }
    }

    fn lock(&self) -> MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plugin::tape::recording::tests::header;

    #[test]
    fn what_is_over_the_limit_is_cut_and_said() {
        let recorder = Recorder::new(Timestamp(0));
        assert_eq!(recorder.note(Entry::WallClock { ns: 1 }), Some(0));
        let large = Entry::Called { what: "sign".into(), with: vec![Data(vec![0; LIMIT])], answer: Ok(Data::default()) };
        assert_eq!(recorder.note(large), None);
        assert_eq!(recorder.note(Entry::WallClock { ns: 2 }), None, "nothing comes after a hole");
        let recording = recorder.recording(&Outcome::Cancelled, |_, _| header());
        assert_eq!((recording.entries.len(), recording.end.cut), (1, true));
    }

    #[test]
    fn an_answer_with_a_piece_too_many_stays_without_its_end() {
        let recorder = Recorder::new(Timestamp(0));
        let place = recorder.note(Entry::Http(Box::new(Exchange {
            method: "GET".into(),
            url: "http://a/".into(),
            headers: Vec::new(),
            body: Data::default(),
            whole: true,
            answer: None,
        })));
        recorder.answered(place, Came::Response { status: 200, headers: Vec::new(), body: Vec::new(), end: End::Open });
        recorder.received(place, b"some");
        recorder.received(place, &vec![0; LIMIT]);
        recorder.ended(place, End::Whole);
        let recording = recorder.recording(&Outcome::Cancelled, |_, _| header());
        let Entry::Http(exchange) = &recording.entries[0] else { panic!("{:?}", recording.entries) };
        let Some(Answer { came: Came::Response { body, end, .. }, .. }) = &exchange.answer else { panic!("{exchange:?}") };
        assert_eq!((body.len(), end, recording.end.cut), (1, &End::Open, true));
    }
}
