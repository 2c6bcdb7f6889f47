//! A directory or file inside the image, as text that is safe wherever it is written.

use super::ValueError;

/// Accepts an absolute path inside the image without empty, `.` and `..` parts, and not `/` itself.
///
/// # Errors
/// When it is relative, not clean, or has a character that a shell or a Containerfile gives a meaning to.
pub fn check_image_path(text: &str) -> Result<(), ValueError> {
    let error = |why: &str| Err(ValueError::new("path in the image", text, why));
    let Some(below) = text.strip_prefix('/') else { return error("it must start with `/`") };
    if text.len() > 1024 {
        return error("it has more than 1,024 characters");
    }
    if !text.bytes().all(|b| b.is_ascii_alphanumeric() || b"._~+@/-".contains(&b)) {
        return error("it may hold letters, digits and `. _ ~ + @ - /`");
    }
    if below.split('/').any(|part| matches!(part, "" | "." | "..")) {
        return error("it must be without empty, `.` and `..` parts, and without `/` at its end");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_clean_absolute_paths_are_accepted() {
        for good in ["/opt/venv", "/usr/local/lib/node_modules/@scope/name", "/root/.opencode"] {
            assert!(check_image_path(good).is_ok(), "{good}");
        }
        for bad in ["", "/", "opt", "/opt/", "/a//b", "/a/../b", "/a/./b", "/a b", "/a\"", "/$HOME", "/ä"] {
            assert!(check_image_path(bad).is_err(), "{bad}");
        }
    }
}
