//! The one sample that a query of Prometheus finds now.

use serde_json::Value;

use super::{Asker, http, number};
use crate::domain::backlog::Measurement;
use crate::domain::probe::{Away, Head};
use crate::egress::Egress;

pub async fn measure(egress: &Egress, asker: &Asker<'_>, away: &Away, query: &str, head: &Head) -> Result<Measurement, String> {
    let base = away.at.url.split(['?', '#']).next().unwrap_or_default().trim_end_matches('/');
    let said = http::get(egress, asker, &format!("{base}/api/v1/query?query={}", encoded(query)), head).await?;
    let body = String::from_utf8_lossy(&said.body);
    let found = serde_json::from_str::<Value>(&body).ok();
    // What is wrong with a query comes with 400 and in its own words.
    let error = found.as_ref().and_then(|found| found["error"].as_str());
    match (&found, error) {
        (Some(found), None) if said.status == 200 => number::measurement(sample(found, |text| asker.quoted(text))?, None),
        (_, error) => Err(format!("{} answered {}: {}", away.at.origin, said.status, asker.quoted(error.unwrap_or(&body)))),
    }
}

fn sample(found: &Value, quoted: impl Fn(&str) -> String) -> Result<f64, String> {
    let data = &found["data"];
    let value = match (data["resultType"].as_str(), data["result"].as_array()) {
        (Some("scalar"), _) => &data["result"][1],
        (Some("vector"), Some(series)) => match series.as_slice() {
            [one] => &one["value"][1],
            [] => return Err("the query finds nothing; is the metric there? \"or vector(0)\" makes nothing a zero".into()),
            several => {
                return Err(format!("the query finds {} series and a probe needs one; sum(…) makes one of many", several.len()));
            }
        },
        _ => return Err(format!("the query's result is neither a vector nor a scalar: {}", quoted(&data.to_string()))),
    };
    let text = value.as_str().ok_or_else(|| format!("the sample has no value: {}", quoted(&data.to_string())))?;
    text.parse().map_err(|_| format!("{text:?} is no number"))
}

/// For a query string.
fn encoded(text: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.~".contains(&byte);
    text.bytes().map(|byte| if plain(byte) { char::from(byte).to_string() } else { format!("%{byte:02X}") }).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn sample(found: &Value) -> Result<f64, String> {
        super::sample(found, str::to_owned)
    }

    #[test]
    fn one_sample_counts_and_nan_is_none() {
        let vector = |series: Value| json!({ "data": { "resultType": "vector", "result": series } });
        assert_eq!(sample(&vector(json!([{ "value": [1, "305"] }]))), Ok(305.0));
        assert_eq!(sample(&json!({ "data": { "resultType": "scalar", "result": [1, "4"] } })), Ok(4.0));
        assert!(sample(&vector(json!([]))).unwrap_err().contains("finds nothing"));
        assert!(sample(&vector(json!([{ "value": [1, "1"] }, { "value": [1, "2"] }]))).unwrap_err().contains("2 series"));
        let nan = sample(&vector(json!([{ "value": [1, "NaN"] }]))).and_then(number::size);
        assert!(nan.unwrap_err().contains("NaN is no number of pieces"));
        assert!(sample(&json!({ "data": { "resultType": "matrix", "result": [] } })).is_err());
    }
}
