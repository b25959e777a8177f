//! The labels of a series: those that every profile has, attributes of the resource, then of the scope.

use hearth_formats::otlp::{Otlp, Profile, Tables};

use super::{EXECUTABLE, SERVICE, Service, Texts, UNKNOWN_SERVICE, utf8};

/// Bytes of all labels of a scope; each of its profiles is identified by them, so they bound the work of many small ones.
const LABELS_BYTES_MAX: usize = 64 << 10;
/// What each attribute counts for beside its texts, also one that is no label.
const ATTRIBUTE_BYTES: usize = 16;

/// Labels of the profiles of one scope, but for their name and service.
#[derive(Debug, Default)]
pub(crate) struct ScopeLabels<'o> {
    pairs: Vec<(&'o str, &'o str)>,
    executable: Option<&'o str>,
    has_service: bool,
}

impl<'o> ScopeLabels<'o> {
    /// Of equal names the first counts; what is no label is left out.
    pub(crate) fn new(otlp: &'o Otlp<'o>, texts: &'o Texts, profile: &Profile) -> Result<Self, String> {
        let tables: &Tables = &otlp.tables[profile.tables as usize];
        let scope = &otlp.scopes[profile.scope as usize];
        let mut out = Self::default();
        let mut bytes = 0;
        let mut known = std::collections::HashSet::from(["__name__", "__delta__", "__otel__"]);
        for at in scope.resource_attributes.range().chain(scope.attributes.range()) {
            let label = texts.of_own(otlp, tables, at)?;
            bytes += ATTRIBUTE_BYTES + label.map_or(0, |(key, value)| key.len() + value.len());
            if bytes > LABELS_BYTES_MAX {
                return Err(format!(
                    "attributes of the resource and scope have more than {LABELS_BYTES_MAX} bytes"
                ));
            }
            let Some((key, value)) = label else { continue };
            let key = utf8(key, "the key of a resource or scope attribute")?;
            let value = utf8(value, key)?;
            if value.is_empty() || !known.insert(key) {
                continue;
            }
            out.has_service |= key == SERVICE;
            if key == EXECUTABLE {
                out.executable = Some(value);
            }
            out.pairs.push((key, value));
        }
        Ok(out)
    }

    /// Whether the resource says what the service is, be it by its executable.
    pub(crate) fn is_named(&self) -> bool {
        self.has_service || self.executable.is_some()
    }

    /// The name of the service, where it is not an attribute as it stands.
    pub(crate) fn service(&self, service: Service<'o>) -> String {
        let named = self.pairs.iter().find(|(key, _)| *key == SERVICE).map(|(_, value)| *value);
        let executable = match service {
            Service::Sample(name) => return name.to_owned(),
            Service::Executable(name) => Some(name),
            Service::Resource => self.executable,
        };
        match (named, executable) {
            (Some(name), _) => name.to_owned(),
            (None, Some(name)) => format!("{UNKNOWN_SERVICE}:{name}"),
            (None, None) => UNKNOWN_SERVICE.to_owned(),
        }
    }

    /// All labels of a profile with this name, whose service is called `service_name`.
    pub(crate) fn with<'l>(
        &'l self,
        name: &'l str,
        service: Service<'l>,
        service_name: &'l str,
    ) -> Vec<(&'l str, &'l str)> {
        // Values of this protocol are never cumulative.
        let mut labels = vec![
            ("__name__", name),
            ("__delta__", "false"),
            ("__otel__", "true"),
            ("service_name", service_name),
        ];
        let mut named = false;
        for (key, value) in &self.pairs {
            match (*key, service) {
                // The attribute as it stands is second to what names the service.
                ("service_name", _) => {}
                (SERVICE, Service::Sample(own)) => {
                    named = true;
                    labels.push((SERVICE, own));
                }
                (key, _) => labels.push((key, value)),
            }
        }
        if let (Service::Sample(own), false) = (service, named) {
            labels.push((SERVICE, own));
        }
        labels
    }
}
