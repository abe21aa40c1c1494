//! Bytes as they stand in a recording: text where they are text, else base64.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Data(pub Vec<u8>);

#[derive(Serialize, Deserialize)]
#[serde(untagged)]
enum Written {
    Text(String),
    Binary { base64: String },
}

impl Serialize for Data {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match std::str::from_utf8(&self.0) {
            Ok(text) => serializer.serialize_str(text),
            Err(_) => Written::Binary { base64: STANDARD.encode(&self.0) }.serialize(serializer),
        }
    }
}

impl<'de> Deserialize<'de> for Data {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        match Written::deserialize(deserializer)? {
            Written::Text(text) => Ok(Self(text.into_bytes())),
            Written::Binary { base64 } => STANDARD.decode(base64).map(Self).map_err(D::Error::custom),
        }
    }
}

/// For `#[serde(with)]` where a type keeps plain bytes.
pub mod bytes {
    use super::{Data, Deserialize, Deserializer, Serialize, Serializer};

    pub fn serialize<S: Serializer>(bytes: &[u8], serializer: S) -> Result<S::Ok, S::Error> {
        Data(bytes.to_vec()).serialize(serializer)
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<u8>, D::Error> {
        Data::deserialize(deserializer).map(|data| data.0)
    }
}

/// The same for a value with its version.
pub mod versioned {
    use super::{Data, Deserialize, Deserializer, Serialize, Serializer};

    type Entry = Option<(Vec<u8>, u64)>;

    pub fn serialize<S: Serializer>(entry: &Entry, serializer: S) -> Result<S::Ok, S::Error> {
        entry.as_ref().map(|(value, version)| (Data(value.clone()), version)).serialize(serializer)
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Entry, D::Error> {
        Ok(<Option<(Data, u64)>>::deserialize(deserializer)?.map(|(data, version)| (data.0, version)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_come_back_as_they_were() {
        for bytes in [&b""[..], b"text with \"quotes\"", b"\xff\x00\xfe", "ä".as_bytes()] {
            let written = serde_json::to_string(&Data(bytes.to_vec())).unwrap();
            assert_eq!(serde_json::from_str::<Data>(&written).unwrap().0, bytes, "{written}");
        }
        assert_eq!(serde_json::to_string(&Data(b"\xff".to_vec())).unwrap(), r#"{"base64":"/w=="}"#);
    }
}
