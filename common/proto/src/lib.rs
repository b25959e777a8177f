//! Generated wire types; nothing here is written by hand but the module tree.
//!
//! Source: `proto/`, by `cargo xtask codegen`. Wire types stop at the roles' `api` modules.

#![allow(
    clippy::all,
    clippy::pedantic,
    clippy::clone_on_ref_ptr,
    unreachable_pub,
    unused_qualifications,
    rust_2018_idioms,
    missing_docs
)]
#![allow(rustdoc::all)]

macro_rules! package {
    ($($part:ident).+, $name:literal) => {
        include!(concat!("gen/", $name, ".rs"));
        include!(concat!("gen/", $name, ".serde.rs"));
    };
}

pub mod push {
    pub mod v1 {
        package!(push.v1, "push.v1");
    }
}
pub mod querier {
    pub mod v1 {
        package!(querier.v1, "querier.v1");
    }
}
pub mod types {
    pub mod v1 {
        package!(types.v1, "types.v1");
    }
}
pub mod google {
    pub mod v1 {
        package!(google.v1, "google.v1");
    }
}
pub mod debuginfo {
    pub mod v1alpha1 {
        package!(debuginfo.v1alpha1, "debuginfo.v1alpha1");
    }
}
pub mod settings {
    pub mod v1 {
        package!(settings.v1, "settings.v1");
    }
}
pub mod status {
    pub mod v1 {
        package!(status.v1, "status.v1");
    }
}
pub mod version {
    pub mod v1 {
        package!(version.v1, "version.v1");
    }
}
pub mod capabilities {
    pub mod v1 {
        package!(capabilities.v1, "capabilities.v1");
    }
}
pub mod grpc {
    pub mod health {
        pub mod v1 {
            package!(grpc.health.v1, "grpc.health.v1");
        }
    }
}
/// What roles say to each other.
pub mod hearth {
    pub mod internal {
        pub mod v1 {
            include!("gen/hearth.internal.v1.rs");
        }
    }
}
