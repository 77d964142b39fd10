//! Where what the platforms do is known to be other than what their published schemas say. Each one is named, with the
//! reason; what is not in this list must be as the schema has it.

/// Something that a schema does not have and that is let through all the same.
pub struct Exception {
    /// The type, and the field in it.
    pub at: &'static str,
    pub allows: Allows,
    /// How it is known.
    pub why: &'static str,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Allows {
    /// No value where there is to be one.
    Null,
    /// A field that must be there and is not.
    Missing,
    /// A field that is not declared.
    Undeclared,
    /// A value that is not listed.
    Value(&'static str),
}

/// Whether `exceptions` have this one.
pub fn allow(exceptions: &[Exception], at: &str, what: Allows) -> bool {
    exceptions.iter().any(|exception| exception.at == at && exception.allows == what)
}

const fn but(at: &'static str, allows: Allows, why: &'static str) -> Exception {
    Exception { at, allows, why }
}

const UNSET: &str = "replies kept by other products have null where nothing is set; the schema knows no null anywhere";
const UNTOLD: &str = "replies kept by other products have null for builds that were not made of a push";
const VARIABLES: &str = "the service of the variables says `msg`, which the vendor's own command line reads";
const NEW: &str = "platforms add states with time, which are to be waited for";

pub const NETLIFY: &[Exception] = &[
    but("site.published_deploy", Allows::Null, UNSET),
    but("deploy.error_message", Allows::Null, UNSET),
    but("deploy.published_at", Allows::Null, UNSET),
    but("deploy.locked", Allows::Null, UNSET),
    but("deploy.title", Allows::Null, UNSET),
    but("deploy.commit_ref", Allows::Null, UNTOLD),
    but("build.sha", Allows::Null, UNTOLD),
    but("error.msg", Allows::Undeclared, VARIABLES),
    but("error.message", Allows::Missing, VARIABLES),
];

pub const RENDER: &[Exception] = &[
    but("deploy.commit", Allows::Null, "so for services that run an image, in what the vendor's clients read"),
    but("deploy.finishedAt", Allows::Null, "so in the replies that the vendor's Terraform provider keeps"),
    but("deployStatus", Allows::Value("SOMETHING_NEW"), NEW),
    but("deployStatus", Allows::Value("something_else"), NEW),
];

pub const RAILWAY: &[Exception] = &[
    but("DeploymentStatus", Allows::Value("SOMETHING_NEW"), NEW),
    but("DeploymentStatus", Allows::Value("something_else"), NEW),
];
