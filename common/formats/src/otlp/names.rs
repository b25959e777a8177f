//! The names of fields in JSON, and what number and type each has in protobuf: one table of messages for each layout whose
//! names differ. Fields that Hearth does not use are named so that they are not unknown, and ignored.

use super::Layout;

/// A message: its name and fields.
#[derive(Debug)]
pub(super) struct Message {
    pub(super) name: &'static str,
    pub(super) fields: &'static [Field],
}

/// A field by its lowerCamelCase name.
#[derive(Debug)]
pub(super) struct Field {
    pub(super) name: &'static str,
    pub(super) number: u8,
    pub(super) kind: Kind,
    pub(super) repeated: bool,
}

/// What a field holds.
#[derive(Debug, Clone, Copy)]
pub(super) enum Kind {
    /// Not used.
    Ignored,
    Text,
    I32,
    I64,
    U64,
    Fixed64,
    /// An id of so many bytes: base64, or hex as OTLP writes ids.
    Id(usize),
    Message(&'static Message),
}

impl Field {
    /// Whether this field is meant: protobuf's JSON takes its lowerCamelCase name and that of the .proto file.
    pub(super) fn is(&self, sent: &str) -> bool {
        if self.name == sent {
            return true;
        }
        let mut sent = sent.bytes();
        let fits = self.name.bytes().all(|byte| match byte.is_ascii_uppercase() {
            true => sent.next() == Some(b'_') && sent.next() == Some(byte.to_ascii_lowercase()),
            false => sent.next() == Some(byte),
        });
        fits && sent.next().is_none()
    }
}

const fn one(name: &'static str, number: u8, kind: Kind) -> Field {
    Field { name, number, kind, repeated: false }
}

const fn many(name: &'static str, number: u8, kind: Kind) -> Field {
    Field { name, number, kind, repeated: true }
}

const fn ignored(name: &'static str) -> Field {
    one(name, 0, Kind::Ignored)
}

/// The layouts with their requests, newest first.
pub(super) static LAYOUTS: [(Layout, &Message); 3] =
    [(Layout::Stacks, &REQUEST), (Layout::Ranges, &RANGES_REQUEST), (Layout::ProfileTables, &TABLES_REQUEST)];

// What all layouts share.

static VALUE: Message = Message {
    name: "AnyValue",
    fields: &[
        one("stringValue", 1, Kind::Text),
        ignored("boolValue"),
        one("intValue", 3, Kind::I64),
        ignored("doubleValue"),
        one("arrayValue", 5, Kind::Message(&ARRAY)),
        ignored("kvlistValue"),
        ignored("bytesValue"),
        one("stringValueStrindex", 8, Kind::I32),
    ],
};

static ARRAY: Message = Message { name: "ArrayValue", fields: &[many("values", 1, Kind::Message(&VALUE))] };

static KEY_VALUE: Message = Message {
    name: "KeyValue",
    fields: &[
        one("key", 1, Kind::Text),
        one("value", 2, Kind::Message(&VALUE)),
        one("keyStrindex", 3, Kind::I32),
    ],
};

static RESOURCE: Message = Message {
    name: "Resource",
    fields: &[
        many("attributes", 1, Kind::Message(&KEY_VALUE)),
        ignored("droppedAttributesCount"),
        ignored("entityRefs"),
    ],
};

static SCOPE: Message = Message {
    name: "InstrumentationScope",
    fields: &[
        ignored("name"),
        ignored("version"),
        many("attributes", 3, Kind::Message(&KEY_VALUE)),
        ignored("droppedAttributesCount"),
    ],
};

static VALUE_TYPE: Message = Message {
    name: "ValueType",
    fields: &[
        one("typeStrindex", 1, Kind::I32),
        one("unitStrindex", 2, Kind::I32),
        ignored("aggregationTemporality"),
    ],
};

static LINE: Message = Message {
    name: "Line",
    fields: &[one("functionIndex", 1, Kind::I32), one("line", 2, Kind::I64), ignored("column")],
};

static FUNCTION: Message = Message {
    name: "Function",
    fields: &[
        one("nameStrindex", 1, Kind::I32),
        one("systemNameStrindex", 2, Kind::I32),
        one("filenameStrindex", 3, Kind::I32),
        one("startLine", 4, Kind::I64),
    ],
};

static LINK: Message =
    Message { name: "Link", fields: &[one("traceId", 1, Kind::Id(16)), one("spanId", 2, Kind::Id(8))] };

static MAPPING: Message = Message {
    name: "Mapping",
    fields: &[
        one("memoryStart", 1, Kind::U64),
        one("memoryLimit", 2, Kind::U64),
        one("fileOffset", 3, Kind::U64),
        one("filenameStrindex", 4, Kind::I32),
        many("attributeIndices", 5, Kind::I32),
        ignored("hasFunctions"),
        ignored("hasFilenames"),
        ignored("hasLineNumbers"),
        ignored("hasInlineFrames"),
    ],
};

// v1.8 and later. `sample` and `line` are what v1.8 called `samples` and `lines`.

static REQUEST: Message = Message {
    name: "ExportProfilesServiceRequest",
    fields: &[
        many("resourceProfiles", 1, Kind::Message(&RESOURCE_PROFILES)),
        one("dictionary", 2, Kind::Message(&DICTIONARY)),
    ],
};

static RESOURCE_PROFILES: Message = Message {
    name: "ResourceProfiles",
    fields: &[
        one("resource", 1, Kind::Message(&RESOURCE)),
        many("scopeProfiles", 2, Kind::Message(&SCOPE_PROFILES)),
        ignored("schemaUrl"),
    ],
};

static SCOPE_PROFILES: Message = Message {
    name: "ScopeProfiles",
    fields: &[
        one("scope", 1, Kind::Message(&SCOPE)),
        many("profiles", 2, Kind::Message(&PROFILE)),
        ignored("schemaUrl"),
    ],
};

static PROFILE: Message = Message {
    name: "Profile",
    fields: &[
        one("sampleType", 1, Kind::Message(&VALUE_TYPE)),
        many("samples", 2, Kind::Message(&SAMPLE)),
        many("sample", 2, Kind::Message(&SAMPLE)),
        one("timeUnixNano", 3, Kind::Fixed64),
        one("durationNano", 4, Kind::U64),
        one("periodType", 5, Kind::Message(&VALUE_TYPE)),
        one("period", 6, Kind::I64),
        ignored("commentStrindices"),
        ignored("profileId"),
        ignored("droppedAttributesCount"),
        ignored("originalPayloadFormat"),
        ignored("originalPayload"),
        ignored("attributeIndices"),
    ],
};

static SAMPLE: Message = Message {
    name: "Sample",
    fields: &[
        one("stackIndex", 1, Kind::I32),
        many("attributeIndices", 2, Kind::I32),
        one("linkIndex", 3, Kind::I32),
        many("values", 4, Kind::I64),
        many("timestampsUnixNano", 5, Kind::Fixed64),
    ],
};

static DICTIONARY: Message = Message {
    name: "ProfilesDictionary",
    fields: &[
        many("mappingTable", 1, Kind::Message(&MAPPING)),
        many("locationTable", 2, Kind::Message(&LOCATION)),
        many("functionTable", 3, Kind::Message(&FUNCTION)),
        many("linkTable", 4, Kind::Message(&LINK)),
        many("stringTable", 5, Kind::Text),
        many("attributeTable", 6, Kind::Message(&KEY_VALUE_AND_UNIT)),
        many("stackTable", 7, Kind::Message(&STACK)),
    ],
};

static KEY_VALUE_AND_UNIT: Message = Message {
    name: "KeyValueAndUnit",
    fields: &[
        one("keyStrindex", 1, Kind::I32),
        one("value", 2, Kind::Message(&VALUE)),
        ignored("unitStrindex"),
    ],
};

static STACK: Message = Message { name: "Stack", fields: &[many("locationIndices", 1, Kind::I32)] };

static LOCATION: Message = Message {
    name: "Location",
    fields: &[
        one("mappingIndex", 1, Kind::I32),
        one("address", 2, Kind::U64),
        many("lines", 3, Kind::Message(&LINE)),
        many("line", 3, Kind::Message(&LINE)),
        many("attributeIndices", 4, Kind::I32),
    ],
};

// v1.7, and what v1.4 and v1.5 have in common with it.

static RANGES_REQUEST: Message = Message {
    name: "ExportProfilesServiceRequest",
    fields: &[
        many("resourceProfiles", 1, Kind::Message(&RANGES_RESOURCE_PROFILES)),
        one("dictionary", 2, Kind::Message(&RANGES_DICTIONARY)),
    ],
};

static RANGES_RESOURCE_PROFILES: Message = Message {
    name: "ResourceProfiles",
    fields: &[
        one("resource", 1, Kind::Message(&RESOURCE)),
        many("scopeProfiles", 2, Kind::Message(&RANGES_SCOPE_PROFILES)),
        ignored("schemaUrl"),
    ],
};

static RANGES_SCOPE_PROFILES: Message = Message {
    name: "ScopeProfiles",
    fields: &[
        one("scope", 1, Kind::Message(&SCOPE)),
        many("profiles", 2, Kind::Message(&RANGES_PROFILE)),
        ignored("schemaUrl"),
    ],
};

static RANGES_PROFILE: Message = Message {
    name: "Profile",
    fields: &[
        many("sampleType", 1, Kind::Message(&VALUE_TYPE)),
        many("sample", 2, Kind::Message(&RANGES_SAMPLE)),
        many("locationIndices", 3, Kind::I32),
        one("timeNanos", 4, Kind::I64),
        one("durationNanos", 5, Kind::I64),
        one("periodType", 6, Kind::Message(&VALUE_TYPE)),
        one("period", 7, Kind::I64),
        ignored("commentStrindices"),
        ignored("defaultSampleTypeIndex"),
        ignored("profileId"),
        ignored("droppedAttributesCount"),
        ignored("originalPayloadFormat"),
        ignored("originalPayload"),
        ignored("attributeIndices"),
    ],
};

static RANGES_SAMPLE: Message = Message {
    name: "Sample",
    fields: &[
        one("locationsStartIndex", 1, Kind::I32),
        one("locationsLength", 2, Kind::I32),
        many("value", 3, Kind::I64),
        many("attributeIndices", 4, Kind::I32),
        one("linkIndex", 5, Kind::I32),
        many("timestampsUnixNano", 6, Kind::U64),
    ],
};

static RANGES_DICTIONARY: Message = Message {
    name: "ProfilesDictionary",
    fields: &[
        many("mappingTable", 1, Kind::Message(&MAPPING)),
        many("locationTable", 2, Kind::Message(&RANGES_LOCATION)),
        many("functionTable", 3, Kind::Message(&FUNCTION)),
        many("linkTable", 4, Kind::Message(&LINK)),
        many("stringTable", 5, Kind::Text),
        many("attributeTable", 6, Kind::Message(&KEY_VALUE)),
        ignored("attributeUnits"),
    ],
};

static RANGES_LOCATION: Message = Message {
    name: "Location",
    fields: &[
        one("mappingIndex", 1, Kind::I32),
        one("address", 2, Kind::U64),
        many("line", 3, Kind::Message(&LINE)),
        ignored("isFolded"),
        many("attributeIndices", 5, Kind::I32),
    ],
};

// v1.4 and v1.5.

static TABLES_REQUEST: Message = Message {
    name: "ExportProfilesServiceRequest",
    fields: &[many("resourceProfiles", 1, Kind::Message(&TABLES_RESOURCE_PROFILES))],
};

static TABLES_RESOURCE_PROFILES: Message = Message {
    name: "ResourceProfiles",
    fields: &[
        one("resource", 1, Kind::Message(&RESOURCE)),
        many("scopeProfiles", 2, Kind::Message(&TABLES_SCOPE_PROFILES)),
        ignored("schemaUrl"),
    ],
};

static TABLES_SCOPE_PROFILES: Message = Message {
    name: "ScopeProfiles",
    fields: &[
        one("scope", 1, Kind::Message(&SCOPE)),
        many("profiles", 2, Kind::Message(&TABLES_PROFILE)),
        ignored("schemaUrl"),
    ],
};

static TABLES_PROFILE: Message = Message {
    name: "Profile",
    fields: &[
        many("sampleType", 1, Kind::Message(&VALUE_TYPE)),
        many("sample", 2, Kind::Message(&RANGES_SAMPLE)),
        many("mappingTable", 3, Kind::Message(&MAPPING)),
        many("locationTable", 4, Kind::Message(&RANGES_LOCATION)),
        many("locationIndices", 5, Kind::I32),
        many("functionTable", 6, Kind::Message(&FUNCTION)),
        many("attributeTable", 7, Kind::Message(&KEY_VALUE)),
        ignored("attributeUnits"),
        many("linkTable", 9, Kind::Message(&LINK)),
        many("stringTable", 10, Kind::Text),
        one("timeNanos", 11, Kind::I64),
        one("durationNanos", 12, Kind::I64),
        one("periodType", 13, Kind::Message(&VALUE_TYPE)),
        one("period", 14, Kind::I64),
        ignored("commentStrindices"),
        ignored("defaultSampleTypeStrindex"),
        ignored("profileId"),
        ignored("attributes"),
        ignored("droppedAttributesCount"),
        ignored("originalPayloadFormat"),
        ignored("originalPayload"),
        ignored("attributeIndices"),
    ],
};
