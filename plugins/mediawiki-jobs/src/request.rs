//! The parameters of one batch, and the text that is signed.

use windlass_plugin::http::encode_form;

/// Parameters sorted by name, as the wiki sorts them before it checks the signature. `async` and `maxjobs` come first,
/// which the grant of the secret relies on: `begins_with = "async=0&maxjobs="`.
pub fn parameters(max_jobs: u64, max_time_s: u64, expires_s: u64, job_type: Option<&str>) -> Vec<(String, String)> {
    let mut parameters = vec![
        ("async", "0".to_owned()),
        ("maxjobs", max_jobs.to_string()),
        ("maxtime", max_time_s.to_string()),
        ("sigexpiry", expires_s.to_string()),
        ("stats", "1".to_owned()),
        ("tasks", "jobs".to_owned()),
        ("title", "Special:RunJobs".to_owned()),
    ];
    parameters.extend(job_type.map(|job_type| ("type", job_type.to_owned())));
    sorted(parameters)
}

fn sorted(parameters: Vec<(&str, String)>) -> Vec<(String, String)> {
    let mut parameters: Vec<_> = parameters.into_iter().map(|(key, value)| (key.to_owned(), value)).collect();
    parameters.sort();
    parameters
}

/// The text that is signed: every parameter but the signature.
pub fn canonical(parameters: &[(String, String)]) -> String {
    encode_form(parameters.iter().map(|(key, value)| (key, value)))
}

#[cfg(test)]
mod tests {
    use hmac::{Hmac, KeyInit, Mac};
    use sha1::Sha1;

    use super::*;

    const KEY: &[u8] = b"a key for tests only";

    fn signature(text: &str) -> String {
        let mut mac = Hmac::<Sha1>::new_from_slice(KEY).unwrap();
        mac.update(text.as_bytes());
        mac.finalize().into_bytes().iter().map(|byte| format!("{byte:02x}")).collect()
    }

    // The expected values were computed with Python's hmac, hashlib and urllib.parse, not with this code.
    #[test]
    fn canonical_texts_and_signatures() {
        let vectors = [
            (
                parameters(500, 20, 1_950_000_000, None),
                "async=0&maxjobs=500&maxtime=20&sigexpiry=1950000000&stats=1&tasks=jobs&title=Special%3ARunJobs",
                "5a3b65907e80ebdf1c5cbc1777b0b0ec1c6fc319",
            ),
            (
                parameters(7, 3, 1_950_000_001, Some("refreshLinks")),
                "async=0&maxjobs=7&maxtime=3&sigexpiry=1950000001&stats=1&tasks=jobs&title=Special%3ARunJobs&type=refreshLinks",
                "020197877c25cd786a09bdb3d0451cc4bfe7585e",
            ),
            (
                parameters(1, 1, 1_950_000_002, Some("Größe ~*-_.+ 100% 日本")),
                "async=0&maxjobs=1&maxtime=1&sigexpiry=1950000002&stats=1&tasks=jobs&title=Special%3ARunJobs&type=Gr%C3%B6%C3%9Fe+%7E%2A-_.%2B+100%25+%E6%97%A5%E6%9C%AC",
                "b4c912d1dcd5390a83915dd2d6e8509d4861c8f1",
            ),
        ];
        for (parameters, text, expected) in vectors {
            assert_eq!(canonical(&parameters), text);
            assert_eq!(signature(text), expected);
        }
    }

    #[test]
    fn the_grant_can_fix_the_beginning() {
        for job_type in [None, Some("a"), Some("zz")] {
            assert!(canonical(&parameters(500, 20, 1, job_type)).starts_with("async=0&maxjobs=500&"));
        }
    }

    #[test]
    fn order_is_by_name() {
        let out_of_order = vec![("title", "t".to_owned()), ("async", "0".to_owned()), ("maxjobs", "1".to_owned())];
        assert_eq!(canonical(&sorted(out_of_order)), "async=0&maxjobs=1&title=t");
    }
}
