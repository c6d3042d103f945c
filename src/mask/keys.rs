//! Which names stand before what is personal. A name is compared by its letters and digits alone, in lower case:
//! `phone_number`, `phoneNumber` and `Phone Number` are one.

/// What stands under a name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Class {
    /// Nothing is known of it: patterns decide.
    Plain,
    /// Things that have a name, which is no person's (a template, a campaign).
    Things,
    /// Personal, whatever it holds.
    Personal,
    /// Personal where it is a text or number, or a list of them; an object under the same name is looked into.
    Text,
}

impl Class {
    /// What the members of an object of this class are.
    pub fn inside(self) -> Self {
        if self == Self::Text { Self::Plain } else { self }
    }
}

/// Personal with all that is in them.
const PERSONAL: &[&str] = &[
    "address",
    "billingaddress",
    "birthdate",
    "birthday",
    "bodytext",
    "bodyvalues",
    "buttonvalues",
    "city",
    "contact",
    "contacts",
    "coordinates",
    "dateofbirth",
    "dob",
    "email",
    "emailaddress",
    "emails",
    "gender",
    "headervalues",
    "latitude",
    "location",
    "longitude",
    "mail",
    "phones",
    "pincode",
    "postalcode",
    "postcode",
    "profile",
    "shippingaddress",
    "street",
    "traits",
    "zip",
    "zipcode",
];

/// Personal as texts and numbers.
const TEXTS: &[&str] = &[
    "answer",
    "body",
    "caption",
    "channelphonenumber",
    "comment",
    "content",
    "contactname",
    "customer",
    "customername",
    "customernumber",
    "description",
    "displayphonenumber",
    "filename",
    "firstname",
    "from",
    "fullname",
    "fullphonenumber",
    "headline",
    "lastname",
    "login",
    "mediafilename",
    "message",
    "middlename",
    "mobile",
    "mobilenumber",
    "msisdn",
    "name",
    "nickname",
    "note",
    "notes",
    "phone",
    "phonenumber",
    "recipient",
    "sender",
    "text",
    "title",
    "to",
    "userphonenumber",
    "username",
    "waid",
    "whatsapp",
];

/// Under these, `name` and texts are those of a thing.
const THINGS: &[&str] = &["campaign", "organization", "product", "rawtemplate", "repository", "template", "templates"];
/// Begin names of things that end as people's names do: `campaign_name`, `host_name`.
const NAMED: &[&str] = &[
    "button",
    "campaign",
    "class",
    "event",
    "field",
    "host",
    "key",
    "list",
    "organization",
    "product",
    "tag",
    "template",
];
/// What of [`TEXTS`] is not personal of a thing.
const OF_THINGS: &[&str] = &["body", "description", "displayname", "name", "text", "title"];

/// What stands under a name, inside of what is of that class.
pub fn class(name: &str, around: Class) -> Class {
    if is_id(name) {
        return Class::Plain;
    }
    let letters: String = name.chars().filter(|c| c.is_alphanumeric()).flat_map(char::to_lowercase).collect();
    let is_in = |list: &[&str]| list.contains(&letters.as_str());
    match around {
        Class::Personal if letters == "type" => Class::Plain,
        Class::Personal => Class::Personal,
        _ if is_in(PERSONAL) || letters.ends_with("email") => Class::Personal,
        Class::Things if is_in(OF_THINGS) => Class::Things,
        _ if is_name(&letters) => Class::Personal,
        _ if is_in(TEXTS) => Class::Text,
        _ if is_in(THINGS) => Class::Things,
        _ => around,
    }
}

/// Whether what stands there is a person's name, perhaps in parts: `profile_name`, `{"first": …, "last": …}`.
fn is_name(letters: &str) -> bool {
    letters.ends_with("name") && !NAMED.iter().any(|thing| letters.starts_with(thing))
}

/// Whether a name is that of an id: what stands there names a thing, and patterns decide.
fn is_id(name: &str) -> bool {
    name.eq_ignore_ascii_case("id") || ["_id", " id", " Id", "Id", "ID"].iter().any(|end| name.ends_with(end))
}
