//! The type of a text profile by the suffix of its application's name (api-semantics §3.12).

/// What the values of a text profile are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct TextType {
    /// The profile's `__name__`.
    pub(crate) name: &'static str,
    /// Sample type.
    pub(crate) ty: &'static str,
    /// Its unit.
    pub(crate) unit: &'static str,
    /// Whether values are counts of samples, to be turned into time by the sample rate.
    pub(crate) timed: bool,
}

/// The suffix is none that is known.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("unknown profile type: {0}")]
pub(crate) struct UnknownType(String);

/// Splits the application's name into the service and the type that its suffix names; without a suffix it is CPU time.
pub(crate) fn of_app(app: &str) -> Result<(&str, TextType), UnknownType> {
    let Some((service, suffix)) = app.rsplit_once('.') else {
        return Ok((app, CPU));
    };
    Ok((service, of_suffix(suffix).ok_or_else(|| UnknownType(suffix.to_owned()))?))
}

const CPU: TextType = TextType { name: "process_cpu", ty: "cpu", unit: "nanoseconds", timed: true };

fn of_suffix(suffix: &str) -> Option<TextType> {
    let plain = |name, ty, unit| Some(TextType { name, ty, unit, timed: false });
    match suffix {
        "cpu" | "itimer" => Some(CPU),
        "wall" | "seconds" | "nanoseconds" | "microseconds" | "milliseconds" => {
            Some(TextType { name: "wall", ty: "wall", unit: "nanoseconds", timed: true })
        }
        "inuse_objects" => plain("memory", "inuse_objects", "count"),
        "alloc_objects" => plain("memory", "alloc_objects", "count"),
        "inuse_space" => plain("memory", "inuse_space", "bytes"),
        "alloc_space" => plain("memory", "alloc_space", "bytes"),
        "goroutines" => plain("goroutine", "goroutines", "count"),
        "mutex_count" => plain("mutex", "contentions", "count"),
        "mutex_duration" => plain("mutex", "delay", "nanoseconds"),
        "block_count" | "lock_count" => plain("block", "contentions", "count"),
        "block_duration" | "lock_duration" => plain("block", "delay", "nanoseconds"),
        "alloc_in_new_tlab_objects" => plain("memory", "alloc_in_new_tlab_objects", "count"),
        "alloc_in_new_tlab_bytes" => plain("memory", "alloc_in_new_tlab_bytes", "bytes"),
        "alloc_outside_tlab_objects" => plain("memory", "alloc_outside_tlab_objects", "count"),
        "alloc_outside_tlab_bytes" => plain("memory", "alloc_outside_tlab_bytes", "bytes"),
        "live" => plain("memory", "live", "count"),
        "exceptions" => plain("exceptions", "samples", "count"),
        "bytes" => plain("memory", "samples", "bytes"),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn suffixes_name_types() {
        let check = |app: &str, want: &str| {
            let got = of_app(app).map_or_else(
                |error| error.to_string(),
                |(service, ty)| format!("{service} {}:{}:{}", ty.name, ty.ty, ty.unit),
            );
            assert_eq!(got, want);
        };
        check("plain", "plain process_cpu:cpu:nanoseconds");
        check("a.b.itimer", "a.b process_cpu:cpu:nanoseconds");
        check("a.seconds", "a wall:wall:nanoseconds");
        check("a.goroutines", "a goroutine:goroutines:count");
        check("a.lock_duration", "a block:delay:nanoseconds");
        check("a.exceptions", "a exceptions:samples:count");
        check("a.bytes", "a memory:samples:bytes");
        check("my.app", "unknown profile type: app");
    }
}
