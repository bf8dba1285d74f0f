//! Identifiers in the parameters of a request's path (RFC 3986 section 3.3), as `/cart;jsessionid=abc`.

/// The first parameter `name` with a value, in any segment of `path`, as it was sent: applications compare it with
/// the value of their cookie, which is not decoded either. Names are compared with regard to case.
#[must_use]
pub fn path_parameter<'p>(path: &'p str, name: &str) -> Option<&'p str> {
    let parameters = path.split('/').flat_map(|segment| segment.split(';').skip(1));
    let mut values = parameters.filter_map(|parameter| parameter.split_once('='));
    values.find(|(found, value)| *found == name && !value.is_empty()).map(|(_, value)| value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_parameter_of_the_name_with_a_value_is_found() {
        for (path, found) in [
            ("/cart;jsessionid=abc.web-1", "abc.web-1"),
            ("/;jsessionid=a", "a"),
            ("/a;x=1;jsessionid=b/c;jsessionid=d", "b"),
            ("/a;jsessionid=/b;jsessionid=c=d", "c=d"),
            ("/a;jsessionid=%41", "%41"),
        ] {
            assert_eq!(path_parameter(path, "jsessionid"), Some(found), "{path}");
        }
    }

    #[test]
    fn nothing_else_is() {
        for path in [
            "",
            "/",
            "/jsessionid=a",
            "/a;jsessionid",
            "/a;jsessionid=",
            "/a;JSESSIONID=a",
            "/a;xjsessionid=a",
        ] {
            assert_eq!(path_parameter(path, "jsessionid"), None, "{path}");
        }
    }
}
