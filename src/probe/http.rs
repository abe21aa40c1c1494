//! A number in a JSON answer, found by a path (RFC 9535).

use bytes::Bytes;
use http_body_util::Full;
use hyper::Request;
use hyper::header::ACCEPT;
use serde_json::Value;
use serde_json_path::JsonPath;

use super::{Asker, MOST, TIME_LIMIT, number};
use crate::domain::backlog::Measurement;
use crate::domain::probe::{Away, Head};
use crate::egress::{Egress, Said};

pub async fn measure(
    egress: &Egress,
    asker: &Asker<'_>,
    away: &Away,
    path: &str,
    age: Option<&str>,
    head: &Head,
) -> Result<Measurement, String> {
    let said = get(egress, asker, &away.at.url, head).await?;
    let body = String::from_utf8_lossy(&said.body);
    if said.status != 200 {
        return Err(format!("{} answered {}: {}", away.at.origin, said.status, asker.quoted(&body)));
    }
    let json: Value = serde_json::from_str(&body)
        .map_err(|wrong| format!("{} answered what is no JSON ({wrong}): {}", away.at.origin, asker.quoted(&body)))?;
    let at = |path: &str| number_at(&json, path, |text| asker.quoted(text));
    number::measurement(at(path)?, age.map(at).transpose()?)
}

pub async fn get(egress: &Egress, asker: &Asker<'_>, url: &str, head: &Head) -> Result<Said, String> {
    let mut request = Request::get(url).header(ACCEPT, "application/json");
    for (name, value) in &head.headers {
        request = request.header(name, value);
    }
    if let Some(secret) = &asker.secret {
        request = request.header(&head.header, secret);
    }
    let request = request.body(Full::new(Bytes::new()));
    let request = request.map_err(|_| "URL, headers and secret make no request: is the secret's value one line?".to_owned())?;
    egress.ask(&asker.tenant, asker.ceiling, request, TIME_LIMIT, MOST).await.map_err(|refused| refused.why)
}

fn number_at(json: &Value, path: &str, quoted: impl Fn(&str) -> String) -> Result<f64, String> {
    let path = JsonPath::parse(path).map_err(|wrong| format!("{path:?} is no JSON path: {wrong}"))?;
    match path.query(json).all().as_slice() {
        [Value::Number(number)] => number.as_f64().ok_or_else(|| format!("{number} at {path} is no number of pieces")),
        [other] => Err(format!("at {path} is no number but {}", quoted(&other.to_string()))),
        [] => Err(format!("nothing is at {path} in {}", quoted(&json.to_string()))),
        several => Err(format!("{} values are at {path}; a probe needs one", several.len())),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn number_at(json: &Value, path: &str) -> Result<f64, String> {
        super::number_at(json, path, str::to_owned)
    }

    #[test]
    fn one_number_is_found_and_nothing_else_counts() {
        let json = json!({ "queue": { "length": 305, "text": "12", "none": null }, "all": [1, 2], "most": -3 });
        assert_eq!(number_at(&json, "$.queue.length"), Ok(305.0));
        assert_eq!(number_at(&json, "$.all[1]"), Ok(2.0));
        for (path, says) in [
            ("$.queue.text", "no number but \"12\""),
            ("$.queue.none", "no number but null"),
            ("$.queue.lenght", "nothing is at"),
            ("$.all[*]", "2 values are at"),
            ("$.queue", "no number but {"),
        ] {
            assert!(number_at(&json, path).unwrap_err().contains(says), "{path}");
        }
    }
}
