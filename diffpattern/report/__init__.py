"""What a finished run shows to a person: its charts, its pictures and the page that holds them."""
