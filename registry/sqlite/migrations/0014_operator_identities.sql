-- Accounts at an identity provider, and the operators that they are.

CREATE TABLE operator_identities (
  issuer        TEXT NOT NULL,
  subject       TEXT NOT NULL,
  operator_name TEXT NOT NULL REFERENCES operators (name),
  created_at    INTEGER NOT NULL,
  PRIMARY KEY (issuer, subject)
) STRICT, WITHOUT ROWID;

CREATE INDEX operator_identities_of_operator ON operator_identities (operator_name);
