//! Takes the values of secrets out of a recording: out of the texts and bytes that came from a guest or went to it, not out of
//! the file that they are written to. Numbers and words of the recording itself stay what they are, and it can be played again.

use std::collections::HashMap;

use serde_json::Value;

use super::data::Data;
use super::entry::{Came, End, Entry, Exchange, Failure, Refused};
use super::recording::Recording;
use crate::domain::item::{self, NewItem};
use crate::egress::scrub::Scrubber;
use crate::plugin::{Secret, StateAnswer, StateAsk};

pub struct Mask<'a> {
    names: Vec<&'a str>,
    scrubber: Scrubber,
}

impl<'a> Mask<'a> {
    pub fn new(secrets: &'a HashMap<String, Secret>) -> Self {
        let names: Vec<&str> = secrets.keys().map(String::as_str).collect();
        let scrubber = Scrubber::new(secrets.values().map(|secret| &*secret.0));
        Self { names, scrubber }
    }

    /// Puts `{{secret NAME}}` where a value is.
    pub fn over(&self, recording: &mut Recording) {
        if self.scrubber.is_empty() {
            return;
        }
        self.text(&mut recording.header.config);
        self.text(&mut recording.header.input);
        recording.entries.iter_mut().for_each(|entry| self.entry(entry));
        self.text(&mut recording.end.outcome.message);
        recording.end.outcome.output.iter_mut().for_each(|output| self.text(output));
    }

    fn entry(&self, entry: &mut Entry) {
        match entry {
            Entry::WallClock { .. } | Entry::MonotonicClock { .. } | Entry::Poll { .. } => {}
            Entry::ShouldStop { .. } | Entry::RemainingMs { .. } => {}
            Entry::State { ask, answer } => {
                match &mut **ask {
                    StateAsk::Get(key) | StateAsk::Delete { key, .. } | StateAsk::Keys { prefix: key } => self.text(key),
                    StateAsk::Set { key, value, .. } => {
                        self.text(key);
                        self.bytes(value);
                    }
                }
                match &mut **answer {
                    Some(Ok(StateAnswer::Entry(Some((value, _))))) => self.bytes(value),
                    Some(Ok(StateAnswer::Keys(keys))) => keys.iter_mut().for_each(|key| self.text(key)),
                    Some(Err(refused)) => self.refused(refused),
                    _ => {}
                }
            }
            Entry::Items { ask, answer } => {
                match &mut **ask {
                    item::Ask::Declare(items) => self.items(items),
                    item::Ask::Next(_) => {}
                    item::Ask::Finish(endings) => endings.iter_mut().for_each(|ending| {
                        [&mut ending.name, &mut ending.message]
                            .into_iter()
                            .chain(&mut ending.output)
                            .for_each(|it| self.text(it));
                    }),
                }
                match &mut **answer {
                    Some(Ok(item::Answer::Items(items))) => self.items(items),
                    Some(Err(refused)) => self.refused(refused),
                    _ => {}
                }
            }
            Entry::Called { with, answer, .. } => {
                with.iter_mut().for_each(|data| self.bytes(&mut data.0));
                match answer {
                    Ok(data) => self.bytes(&mut data.0),
                    Err(refused) => self.refused(refused),
                }
            }
            Entry::Http(exchange) => self.exchange(exchange),
        }
    }

    fn exchange(&self, exchange: &mut Exchange) {
        self.text(&mut exchange.url);
        self.headers(&mut exchange.headers);
        self.bytes(&mut exchange.body.0);
        match exchange.answer.as_mut().map(|answer| &mut answer.came) {
            Some(Came::Response { headers, body, end, .. }) => {
                self.headers(headers);
                body.iter_mut().for_each(|piece| self.bytes(&mut piece.0));
                if let End::Broken(failure) = end {
                    self.failure(failure);
                }
            }
            Some(Came::Failure(failure)) => self.failure(failure),
            None => {}
        }
    }

    fn headers(&self, headers: &mut [(String, Data)]) {
        for (name, value) in headers {
            self.text(name);
            self.bytes(&mut value.0);
        }
    }

    fn items(&self, items: &mut [NewItem]) {
        items.iter_mut().flat_map(|item| [&mut item.name, &mut item.input]).for_each(|text| self.text(text));
    }

    fn refused(&self, refused: &mut Refused) {
        self.text(&mut refused.message);
    }

    fn failure(&self, failure: &mut Failure) {
        failure.detail.iter_mut().for_each(|detail| self.text(detail));
    }

    fn text(&self, text: &mut String) {
        self.in_text(text);
    }

    /// Whether there was anything.
    fn in_text(&self, text: &mut String) -> bool {
        let masked = self.masked(text.as_bytes());
        let found = masked.is_some();
        if let Some(masked) = masked {
            *text = String::from_utf8_lossy(&masked).into_owned();
        }
        found
    }

    fn bytes(&self, bytes: &mut Vec<u8>) {
        if let Some(masked) = self.masked(bytes) {
            *bytes = masked;
        }
    }

    fn masked(&self, bytes: &[u8]) -> Option<Vec<u8>> {
        match serde_json::from_slice(bytes) {
            // What was JSON is JSON afterwards.
            Ok(mut json @ (Value::Array(_) | Value::Object(_))) => {
                let masked = self.json(&mut json).then(|| json.to_string().into_bytes());
                let now = masked.as_deref().unwrap_or(bytes);
                let in_number = |found: &[u8]| found.iter().all(|byte| byte.is_ascii_digit() || b"+-.eE".contains(byte));
                // A value may be JSON itself, and stand there as such.
                let is_left = self.scrubber.found(now).any(|found| !in_number(found));
                if is_left { self.replaced(now) } else { masked }
            }
            // One that only has the digits of a value in it is another number.
            Ok(Value::Number(_)) => self.replaced(bytes).filter(|masked| self.is_one(masked)),
            _ => self.replaced(bytes),
        }
    }

    /// Whether there was anything.
    fn json(&self, json: &mut Value) -> bool {
        match json {
            Value::String(text) => self.in_text(text),
            Value::Number(number) => {
                let masked = self.masked(number.to_string().as_bytes());
                let found = masked.is_some();
                if let Some(masked) = masked {
                    *json = String::from_utf8_lossy(&masked).into();
                }
                found
            }
            Value::Array(all) => all.iter_mut().fold(false, |found, one| self.json(one) | found),
            Value::Object(all) => {
                let mut found = false;
                let masked = std::mem::take(all).into_iter().map(|(mut key, mut value)| {
                    found |= self.in_text(&mut key) | self.json(&mut value);
                    (key, value)
                });
                *all = masked.collect();
                found
            }
            Value::Null | Value::Bool(_) => false,
        }
    }

    fn replaced(&self, bytes: &[u8]) -> Option<Vec<u8>> {
        self.scrubber.replace(bytes, |n| stands_for(self.names[n]))
    }

    /// Nothing but what stands for a value.
    fn is_one(&self, masked: &[u8]) -> bool {
        self.names.iter().any(|name| stands_for(name).as_bytes() == masked)
    }
}

fn stands_for(name: &str) -> String {
    format!("{{{{secret {name}}}}}")
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use base64::Engine as _;
    use base64::engine::general_purpose::STANDARD;

    use super::*;
    use crate::plugin::tape::Recordings;
    use crate::plugin::tape::entry::Answer;
    use crate::plugin::tape::recording::tests::recordings;

    fn masked(recordings: &Recordings, value: &[u8]) -> Recordings {
        let secrets = HashMap::from([("key".to_owned(), Secret(Arc::from(value)))]);
        Recordings::read(&recordings.write(&secrets).unwrap()).unwrap()
    }

    fn config(config: &str, value: &str) -> String {
        let mut recordings = recordings();
        recordings.0[0].header.config = config.to_owned();
        masked(&recordings, value.as_bytes()).0.remove(0).header.config
    }

    #[test]
    fn a_secret_is_not_in_it_however_it_is_written() {
        for (before, after) in [
            (r#"{"key":"pass\"word"}"#, r#"{"key":"{{secret key}}"}"#),
            (r#"{"key":"p\u0061ss%22word","list":["pass\"word!"]}"#, r#"{"key":"{{secret key}}","list":["{{secret key}}!"]}"#),
            (
                r#"{"deep":"{\"deeper\":\"{\\\"key\\\":\\\"pass\\\\\\\"word\\\"}\"}"}"#,
                r#"{"deep":"{\"deeper\":\"{\\\"key\\\":\\\"{{secret key}}\\\"}\"}"}"#,
            ),
            ("no JSON: pass\"word", "no JSON: {{secret key}}"),
        ] {
            assert_eq!(config(before, "pass\"word"), after);
        }
        // A secret that is JSON, where JSON stands.
        let account = r#"{"type":"account","id":7}"#;
        assert_eq!(config(&format!(r#"{{"account":{account}}}"#), account), r#"{"account":{{secret key}}}"#);
    }

    #[test]
    fn a_short_secret_damages_nothing_that_only_has_its_digits() {
        let mut whole = recordings();
        whole.0[0].header.input = r#"{"n":10005,"list":[1,200,1000.5]}"#.into();
        whole.0[0].entries = vec![
            Entry::WallClock { ns: 1_000_200 },
            Entry::State {
                ask: Box::new(StateAsk::Get("at".into())),
                answer: Box::new(Some(Ok(StateAnswer::Entry(Some((b"10001".to_vec(), 1_000)))))),
            },
            Entry::RemainingMs { answer: 1_000 },
        ];
        for value in ["1", "200", "1000", "wall_clock", "header", "secret", "call"] {
            assert_eq!(masked(&whole, value.as_bytes()), whole, "{value}");
        }
        let pin = r#"{"pin":1000,"after":10005,"told":"1000 miles","1000":true}"#;
        let without = r#"{"pin":"{{secret key}}","after":10005,"told":"{{secret key}} miles","{{secret key}}":true}"#;
        assert_eq!(config(pin, "1000"), without);
    }

    #[test]
    fn a_secret_in_a_binary_body_is_not_in_it() {
        let binary = |text: &[u8]| Data([b"\xff\x00", text, b"\xfe"].concat());
        let came = |body: &[u8]| Came::Response { status: 200, headers: Vec::new(), body: vec![binary(body)], end: End::Whole };
        let exchange = |text: &[u8]| {
            Entry::Http(Box::new(Exchange {
                method: "PUT".into(),
                url: "http://a/?%68unter2%21".into(),
                headers: vec![("x-key".into(), binary(text))],
                body: binary(text),
                whole: true,
                answer: Some(Answer { place: 0, came: came(text) }),
            }))
        };
        let mut whole = recordings();
        whole.0[0].entries = vec![exchange(b"hunter2!"), exchange(STANDARD.encode("hunter2!").as_bytes())];
        let read = masked(&whole, b"hunter2!");
        for entry in &read.0[0].entries {
            let Entry::Http(exchange) = entry else { panic!("{entry:?}") };
            let Some(Came::Response { body, .. }) = exchange.answer.as_ref().map(|answer| &answer.came) else {
                panic!("{entry:?}")
            };
            for data in [&exchange.body, &exchange.headers[0].1, &body[0]] {
                assert!(data.0.starts_with(b"\xff\x00{{secret key}}"), "{entry:?}");
            }
            assert_eq!(exchange.url, "http://a/?{{secret key}}");
        }
    }
}
