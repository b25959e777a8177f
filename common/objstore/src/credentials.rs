//! Credentials of S3 from a file, as AWS' own tools keep them; the client of `object_store` takes everything else.
//!
//! `AWS_SHARED_CREDENTIALS_FILE`, else `~/.aws/credentials`, section `AWS_PROFILE`, else `default`. Used where the
//! environment names neither keys nor another source. A file that is replaced, as one that a secret is mounted as, is read
//! again.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::SystemTime;

use async_trait::async_trait;
use object_store::CredentialProvider;
use object_store::aws::{AmazonS3Builder, AmazonS3ConfigKey, AwsCredential};

/// Most bytes of such a file.
const FILE_BYTES_MAX: u64 = 1 << 20;

/// Reads one section of a file.
#[derive(Debug)]
pub(crate) struct CredentialsFile {
    path: PathBuf,
    profile: String,
    read: Mutex<Option<(SystemTime, Arc<AwsCredential>)>>,
}

/// Why there are none.
#[derive(Debug, thiserror::Error)]
enum FileError {
    #[error("cannot read '{path}'")]
    Read {
        path: String,
        #[source]
        source: std::io::Error,
    },
    #[error("'{path}' has no aws_access_key_id and aws_secret_access_key in section [{profile}]")]
    Incomplete { path: String, profile: String },
}

impl From<FileError> for object_store::Error {
    fn from(error: FileError) -> Self {
        Self::Generic { store: "S3", source: Box::new(error) }
    }
}

/// The file, if it is where credentials are to come from.
pub(crate) fn from_file(s3: &AmazonS3Builder) -> Option<CredentialsFile> {
    use AmazonS3ConfigKey as Key;
    let named = [
        Key::AccessKeyId,
        Key::SecretAccessKey,
        Key::WebIdentityTokenFile,
        Key::ContainerCredentialsRelativeUri,
        Key::ContainerCredentialsFullUri,
    ];
    let set = |key: Key| s3.get_config_value(&key).is_some_and(|value| !value.is_empty());
    if named.into_iter().any(set) || s3.get_config_value(&Key::SkipSignature).as_deref() == Some("true") {
        return None;
    }
    let variable = |name| std::env::var(name).ok().filter(|value| !value.is_empty());
    let profile = variable("AWS_PROFILE").unwrap_or_else(|| "default".to_owned());
    let path = match variable("AWS_SHARED_CREDENTIALS_FILE") {
        // Whoever names a file wants to hear that it is missing.
        Some(path) => PathBuf::from(path),
        None => {
            Some(PathBuf::from(variable("HOME")?).join(".aws/credentials")).filter(|path| path.is_file())?
        }
    };
    Some(CredentialsFile { path, profile, read: Mutex::default() })
}

impl CredentialsFile {
    fn load(&self) -> Result<Arc<AwsCredential>, FileError> {
        let path = || self.path.display().to_string();
        let failed = |source| FileError::Read { path: path(), source };
        let about = std::fs::metadata(&self.path).map_err(failed)?;
        let modified = about.modified().map_err(failed)?;
        let mut read = self.read.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((at, credential)) = &*read
            && *at == modified
        {
            return Ok(Arc::clone(credential));
        }
        if about.len() > FILE_BYTES_MAX {
            return Err(failed(std::io::Error::other("it is too large to be a file of credentials")));
        }
        let text = std::fs::read_to_string(&self.path).map_err(failed)?;
        let found = parse(&text, &self.profile);
        let found =
            found.ok_or_else(|| FileError::Incomplete { path: path(), profile: self.profile.clone() });
        let credential = Arc::new(found?);
        *read = Some((modified, Arc::clone(&credential)));
        Ok(credential)
    }
}

#[async_trait]
impl CredentialProvider for CredentialsFile {
    type Credential = AwsCredential;

    async fn get_credential(&self) -> object_store::Result<Arc<AwsCredential>> {
        Ok(self.load()?)
    }
}

/// A section of `[name]`, `key = value` lines; `#` and `;` begin comments.
fn parse(text: &str, profile: &str) -> Option<AwsCredential> {
    let (mut inside, mut key_id, mut secret_key, mut token) = (false, None, None, None);
    for line in text.lines().map(str::trim).filter(|line| !line.starts_with(['#', ';'])) {
        if let Some(name) = line.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
            inside = name.trim() == profile;
            continue;
        }
        let Some((name, value)) = line.split_once('=').filter(|_| inside) else { continue };
        let value = Some(value.trim().to_owned()).filter(|value| !value.is_empty());
        match name.trim() {
            "aws_access_key_id" => key_id = value,
            "aws_secret_access_key" => secret_key = value,
            "aws_session_token" => token = value,
            _ => {}
        }
    }
    Some(AwsCredential { key_id: key_id?, secret_key: secret_key?, token })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_section_of_a_file_is_read_and_read_again_when_it_is_replaced() {
        let dir = tempfile::tempdir().expect("a folder");
        let path = dir.path().join("credentials");
        let write = |text: &str, at: u64| {
            std::fs::write(&path, text).expect("written");
            let file = std::fs::File::options().append(true).open(&path).expect("opens");
            file.set_modified(SystemTime::UNIX_EPOCH + std::time::Duration::from_secs(at)).expect("set");
        };
        write(
            "# c\n[other]\naws_access_key_id=o\n[ mine ]\naws_access_key_id = k=1\naws_secret_access_key=s\n",
            1,
        );
        let file = |profile: &str| CredentialsFile {
            path: path.clone(),
            profile: profile.to_owned(),
            read: Mutex::default(),
        };
        let mine = file("mine");
        let first = mine.load().expect("there");
        assert_eq!((first.key_id.as_str(), first.secret_key.as_str(), &first.token), ("k=1", "s", &None));
        assert!(Arc::ptr_eq(&first, &mine.load().expect("there")), "unchanged, it is the same");
        let none = file("other").load().expect_err("no secret").to_string();
        assert!(none.contains("[other]"), "{none}");
        write("[mine]\naws_access_key_id=k2\naws_secret_access_key=s2\naws_session_token=t\n", 2);
        let second = mine.load().expect("there");
        assert_eq!((second.key_id.as_str(), second.token.as_deref()), ("k2", Some("t")));
        std::fs::remove_file(&path).expect("removed");
        assert!(mine.load().is_err());
    }
}
