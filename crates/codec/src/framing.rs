//! How a frame identifies its schema: Avro single-object encoding, or the schema registry's wire format.

use crate::CodecError;

/// First two bytes of single-object encoding.
pub const SINGLE_OBJECT: [u8; 2] = [0xC3, 0x01];
/// First byte of the registry's wire format.
pub const REGISTRY: u8 = 0x00;

/// The schema that a frame names.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum SchemaRef {
    /// Fingerprint of the schema.
    Fingerprint(u64),
    /// Id in the registry.
    RegistryId(u32),
}

/// Whether the bytes begin like one of the two frames (as opposed to JSON).
pub fn is_framed(bytes: &[u8]) -> bool {
    matches!(bytes, [0xC3, 0x01, ..] | [REGISTRY, ..])
}

/// Splits a frame into its schema reference and its datum.
pub fn split(bytes: &[u8]) -> Result<(SchemaRef, &[u8]), CodecError> {
    if let Some(rest) = bytes.strip_prefix(&SINGLE_OBJECT) {
        let (fingerprint, datum) = rest.split_first_chunk::<8>().ok_or(CodecError::Truncated {
            field: "fingerprint",
            at: bytes.len(),
        })?;
        return Ok((SchemaRef::Fingerprint(u64::from_le_bytes(*fingerprint)), datum));
    }
    if let Some(rest) = bytes.strip_prefix(&[REGISTRY]) {
        let (id, datum) = rest.split_first_chunk::<4>().ok_or(CodecError::Truncated {
            field: "schema id",
            at: bytes.len(),
        })?;
        return Ok((SchemaRef::RegistryId(u32::from_be_bytes(*id)), datum));
    }
    let start: Vec<String> = bytes.iter().take(4).map(|byte| format!("{byte:02X}")).collect();
    Err(CodecError::UnknownSchema(format!(
        "begins with [{}], which is neither single-object encoding (C3 01) nor the registry's wire format (00)",
        start.join(" ")
    )))
}

/// The header of single-object encoding.
pub fn single_object_header(fingerprint: u64) -> Vec<u8> {
    [&SINGLE_OBJECT[..], &fingerprint.to_le_bytes()].concat()
}

/// The header of the registry's wire format.
pub fn registry_header(id: u32) -> Vec<u8> {
    [&[REGISTRY][..], &id.to_be_bytes()].concat()
}
