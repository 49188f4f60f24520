"""What tasks are made of: tables, coordinates, designs, bandwidths, data sets, neighbours."""
