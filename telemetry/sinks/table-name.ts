/** Names of tables that the PostgreSQL target may write to. */

export const TABLE_NAME = /^[a-z_][a-z0-9_]{0,39}(\.[a-z_][a-z0-9_]{0,39})?$/;
