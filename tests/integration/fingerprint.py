"""What a refusal must leave as it was: the catalogues and rows of a server, and files."""

import hashlib
import os

_SERVER = (
    "pg_authid",
    "pg_auth_members",
    "pg_database",
    "pg_db_role_setting",
    "pg_shdescription",
    "pg_tablespace",
)
# What initdb made, a test does not change; leaving most of it out makes a fingerprint cheap.
_DATABASE = (
    "(SELECT oid, relname, relowner, relkind, relacl, reloptions FROM pg_class WHERE relpersistence <> 't')",
    "(SELECT * FROM pg_attribute WHERE attrelid >= 16384)",
    "pg_constraint",
    "pg_default_acl",
    "pg_namespace",
    "pg_policy",
    "(SELECT * FROM pg_proc WHERE oid >= 16384)",
    "pg_trigger",
)


def _digests(relations):
    parts = [f"(SELECT coalesce(sum(hashtextextended(t::text, 0)), 0) FROM {each} AS t)" for each in relations]
    return f"SELECT ARRAY[{', '.join(parts)}]::text"


def of_server(connection):
    """Of what all databases share: roles, memberships, databases, their settings."""
    relations = [
        # Ids of transactions and what statistics keep move by themselves.
        "(SELECT oid, datname, datdba, datacl, datconnlimit FROM pg_database)" if each == "pg_database" else each
        for each in _SERVER
    ]
    with connection.cursor() as cursor:
        cursor.execute(_digests(relations))
        return cursor.fetchone()[0]


def of_database(connection):
    """Of the database that the connection is in: its objects, and all rows of its tables."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT format('%I.%I', schemaname, tablename) FROM pg_tables"
            " WHERE schemaname NOT IN ('pg_catalog', 'information_schema') ORDER BY 1"
        )
        tables = [row[0] for row in cursor.fetchall()]
        cursor.execute(_digests([*_DATABASE, *tables]))
        return cursor.fetchone()[0]


def of_files(*directories):
    """Of the names, modes and contents of all files below the directories."""
    digest = hashlib.sha256()
    for directory in directories:
        for place, folders, names in sorted(os.walk(directory)):
            for name in sorted([*folders, *names]):
                path = os.path.join(place, name)
                state = os.lstat(path)
                digest.update(f"{path} {state.st_mode}".encode("utf-8", "surrogateescape"))
                if os.path.isfile(path) and not os.path.islink(path):
                    with open(path, "rb") as file:
                        digest.update(file.read())
    return digest.hexdigest()
