impl serde::Serialize for GetBuildInfoData {
    #[allow(deprecated)]
    fn serialize<S>(&self, serializer: S) -> std::result::Result<S::Ok, S::Error>
    where
        S: serde::Serializer,
    {
        use serde::ser::SerializeStruct;
        let mut len = 0;
        if !self.version.is_empty() {
            len += 1;
        }
        if !self.revision.is_empty() {
            len += 1;
        }
        if !self.branch.is_empty() {
            len += 1;
        }
        if !self.build_user.is_empty() {
            len += 1;
        }
        if !self.build_date.is_empty() {
            len += 1;
        }
        if !self.go_version.is_empty() {
            len += 1;
        }
        let mut struct_ser = serializer.serialize_struct("status.v1.GetBuildInfoData", len)?;
        if !self.version.is_empty() {
            struct_ser.serialize_field("version", &self.version)?;
        }
        if !self.revision.is_empty() {
            struct_ser.serialize_field("revision", &self.revision)?;
        }
        if !self.branch.is_empty() {
            struct_ser.serialize_field("branch", &self.branch)?;
        }
        if !self.build_user.is_empty() {
            struct_ser.serialize_field("buildUser", &self.build_user)?;
        }
        if !self.build_date.is_empty() {
            struct_ser.serialize_field("buildDate", &self.build_date)?;
        }
        if !self.go_version.is_empty() {
            struct_ser.serialize_field("goVersion", &self.go_version)?;
        }
        struct_ser.end()
    }
}
impl<'de> serde::Deserialize<'de> for GetBuildInfoData {
    #[allow(deprecated)]
    fn deserialize<D>(deserializer: D) -> std::result::Result<Self, D::Error>
    where
        D: serde::Deserializer<'de>,
    {
        const FIELDS: &[&str] = &[
            "version",
            "revision",
            "branch",
            "build_user",
            "buildUser",
            "build_date",
            "buildDate",
            "go_version",
            "goVersion",
        ];

        #[allow(clippy::enum_variant_names)]
        enum GeneratedField {
            Version,
            Revision,
            Branch,
            BuildUser,
            BuildDate,
            GoVersion,
            __SkipField__,
        }
        impl<'de> serde::Deserialize<'de> for GeneratedField {
            fn deserialize<D>(deserializer: D) -> std::result::Result<GeneratedField, D::Error>
            where
                D: serde::Deserializer<'de>,
            {
                struct GeneratedVisitor;

                impl serde::de::Visitor<'_> for GeneratedVisitor {
                    type Value = GeneratedField;

                    fn expecting(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                        write!(formatter, "expected one of: {:?}", &FIELDS)
                    }

                    #[allow(unused_variables)]
                    fn visit_str<E>(self, value: &str) -> std::result::Result<GeneratedField, E>
                    where
                        E: serde::de::Error,
                    {
                        match value {
                            "version" => Ok(GeneratedField::Version),
                            "revision" => Ok(GeneratedField::Revision),
                            "branch" => Ok(GeneratedField::Branch),
                            "buildUser" | "build_user" => Ok(GeneratedField::BuildUser),
                            "buildDate" | "build_date" => Ok(GeneratedField::BuildDate),
                            "goVersion" | "go_version" => Ok(GeneratedField::GoVersion),
                            _ => Ok(GeneratedField::__SkipField__),
                        }
                    }
                }
                deserializer.deserialize_identifier(GeneratedVisitor)
            }
        }
        struct GeneratedVisitor;
        impl<'de> serde::de::Visitor<'de> for GeneratedVisitor {
            type Value = GetBuildInfoData;

            fn expecting(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                formatter.write_str("struct status.v1.GetBuildInfoData")
            }

            fn visit_map<V>(self, mut map_: V) -> std::result::Result<GetBuildInfoData, V::Error>
                where
                    V: serde::de::MapAccess<'de>,
            {
                let mut version__ = None;
                let mut revision__ = None;
                let mut branch__ = None;
                let mut build_user__ = None;
                let mut build_date__ = None;
                let mut go_version__ = None;
                while let Some(k) = map_.next_key()? {
                    match k {
                        GeneratedField::Version => {
                            if version__.is_some() {
                                return Err(serde::de::Error::duplicate_field("version"));
                            }
                            version__ = Some(map_.next_value()?);
                        }
                        GeneratedField::Revision => {
                            if revision__.is_some() {
                                return Err(serde::de::Error::duplicate_field("revision"));
                            }
                            revision__ = Some(map_.next_value()?);
                        }
                        GeneratedField::Branch => {
                            if branch__.is_some() {
                                return Err(serde::de::Error::duplicate_field("branch"));
                            }
                            branch__ = Some(map_.next_value()?);
                        }
                        GeneratedField::BuildUser => {
                            if build_user__.is_some() {
                                return Err(serde::de::Error::duplicate_field("buildUser"));
                            }
                            build_user__ = Some(map_.next_value()?);
                        }
                        GeneratedField::BuildDate => {
                            if build_date__.is_some() {
                                return Err(serde::de::Error::duplicate_field("buildDate"));
                            }
                            build_date__ = Some(map_.next_value()?);
                        }
                        GeneratedField::GoVersion => {
                            if go_version__.is_some() {
                                return Err(serde::de::Error::duplicate_field("goVersion"));
                            }
                            go_version__ = Some(map_.next_value()?);
                        }
                        GeneratedField::__SkipField__ => {
                            let _ = map_.next_value::<serde::de::IgnoredAny>()?;
                        }
                    }
                }
                Ok(GetBuildInfoData {
                    version: version__.unwrap_or_default(),
                    revision: revision__.unwrap_or_default(),
                    branch: branch__.unwrap_or_default(),
                    build_user: build_user__.unwrap_or_default(),
                    build_date: build_date__.unwrap_or_default(),
                    go_version: go_version__.unwrap_or_default(),
                })
            }
        }
        deserializer.deserialize_struct("status.v1.GetBuildInfoData", FIELDS, GeneratedVisitor)
    }
}
impl serde::Serialize for GetBuildInfoResponse {
    #[allow(deprecated)]
    fn serialize<S>(&self, serializer: S) -> std::result::Result<S::Ok, S::Error>
    where
        S: serde::Serializer,
    {
        use serde::ser::SerializeStruct;
        let mut len = 0;
        if !self.status.is_empty() {
            len += 1;
        }
        if self.data.is_some() {
            len += 1;
        }
        let mut struct_ser = serializer.serialize_struct("status.v1.GetBuildInfoResponse", len)?;
        if !self.status.is_empty() {
            struct_ser.serialize_field("status", &self.status)?;
        }
        if let Some(v) = self.data.as_ref() {
            struct_ser.serialize_field("data", v)?;
        }
        struct_ser.end()
    }
}
impl<'de> serde::Deserialize<'de> for GetBuildInfoResponse {
    #[allow(deprecated)]
    fn deserialize<D>(deserializer: D) -> std::result::Result<Self, D::Error>
    where
        D: serde::Deserializer<'de>,
    {
        const FIELDS: &[&str] = &[
            "status",
            "data",
        ];

        #[allow(clippy::enum_variant_names)]
        enum GeneratedField {
            Status,
            Data,
            __SkipField__,
        }
        impl<'de> serde::Deserialize<'de> for GeneratedField {
            fn deserialize<D>(deserializer: D) -> std::result::Result<GeneratedField, D::Error>
            where
                D: serde::Deserializer<'de>,
            {
                struct GeneratedVisitor;

                impl serde::de::Visitor<'_> for GeneratedVisitor {
                    type Value = GeneratedField;

                    fn expecting(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                        write!(formatter, "expected one of: {:?}", &FIELDS)
                    }

                    #[allow(unused_variables)]
                    fn visit_str<E>(self, value: &str) -> std::result::Result<GeneratedField, E>
                    where
                        E: serde::de::Error,
                    {
                        match value {
                            "status" => Ok(GeneratedField::Status),
                            "data" => Ok(GeneratedField::Data),
                            _ => Ok(GeneratedField::__SkipField__),
                        }
                    }
                }
                deserializer.deserialize_identifier(GeneratedVisitor)
            }
        }
        struct GeneratedVisitor;
        impl<'de> serde::de::Visitor<'de> for GeneratedVisitor {
            type Value = GetBuildInfoResponse;

            fn expecting(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                formatter.write_str("struct status.v1.GetBuildInfoResponse")
            }

            fn visit_map<V>(self, mut map_: V) -> std::result::Result<GetBuildInfoResponse, V::Error>
                where
                    V: serde::de::MapAccess<'de>,
            {
                let mut status__ = None;
                let mut data__ = None;
                while let Some(k) = map_.next_key()? {
                    match k {
                        GeneratedField::Status => {
                            if status__.is_some() {
                                return Err(serde::de::Error::duplicate_field("status"));
                            }
                            status__ = Some(map_.next_value()?);
                        }
                        GeneratedField::Data => {
                            if data__.is_some() {
                                return Err(serde::de::Error::duplicate_field("data"));
                            }
                            data__ = map_.next_value()?;
                        }
                        GeneratedField::__SkipField__ => {
                            let _ = map_.next_value::<serde::de::IgnoredAny>()?;
                        }
                    }
                }
                Ok(GetBuildInfoResponse {
                    status: status__.unwrap_or_default(),
                    data: data__,
                })
            }
        }
        deserializer.deserialize_struct("status.v1.GetBuildInfoResponse", FIELDS, GeneratedVisitor)
    }
}
