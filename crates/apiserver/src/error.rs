//! Failures of the generic server, all in the form that clients see.

use storage::StoreError;

pub use api_types::ApiError as Error;

pub type Result<T> = std::result::Result<T, Error>;

/// A store's failure that is no conflict, as the client sees it. The detail goes to the log.
pub fn from_store(error: &StoreError) -> Error {
    tracing::error!(error = %error, "store failed");
    match error {
        StoreError::Unavailable(_) => Error::service_unavailable("the store is unavailable, try again later"),
        StoreError::Compacted { .. } => Error::expired("The resourceVersion for the provided list is too old."),
        StoreError::Future { requested, newest } => too_new(requested.0, newest.0),
        StoreError::Unsupported(what) => Error::new(501, "NotImplemented", *what),
        other => Error::internal(other),
    }
}

/// The resource version asked for has not happened yet.
pub fn too_new(requested: u64, newest: u64) -> Error {
    let mut error = Error::timeout(format!("Too large resource version: {requested}, current: {newest}"), 1);
    error.details_mut().causes.push(api_types::Cause {
        reason: "ResourceVersionTooLarge".to_owned(),
        message: "Too large resource version".to_owned(),
        ..api_types::Cause::default()
    });
    error
}
