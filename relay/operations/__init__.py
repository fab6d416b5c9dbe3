"""Operations: what runs beside polling and delivery: scheduler, retention, readiness, cluster notifications."""
