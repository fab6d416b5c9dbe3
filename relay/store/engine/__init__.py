"""The database below the tables: connections, dialects, group commit, schema, migrations, paging and clock."""
