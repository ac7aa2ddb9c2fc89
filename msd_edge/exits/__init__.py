"""Exit rules, temperatures, thresholds and operating points; numpy only, so that it runs on a small board."""
